"""A study of which no candidate can be run is refused, with what would run."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from sweeper.core.outcome import Infeasible
from sweeper.core.plan import plan
from sweeper.core.rule_reads import forbidding, looked_at
from sweeper.core.settings import Settings, setting_names
from sweeper.core.space import Point, SearchSpace, as_overrides
from sweeper.errors import UsageError
from sweeper.hydra_edge.compose import Composer
from sweeper.hydra_edge.conditions import Conditions
from sweeper.hydra_edge.planner import Planner
from sweeper.hydra_edge.study_plan import drawn_points, is_listed
from sweeper.run.machine import quick_look

_GROUPS = frozenset(name.partition(".")[0] for name in setting_names())
# Candidates that are composed to ask one rule: a tenth of a second each.
_MOST_ASKED = 12


def check_runs(settings: Settings) -> None:
    """Of one trial. Raises UsageError, with what would run, where the rules forbid it."""
    ready = plan(settings, quick_look()).ready
    if isinstance(ready, Infeasible):
        raise _nothing_runs(ready.reason, settings, 1)


def check_rules_leave_some(composer: Composer, space: SearchSpace) -> None:
    """Raises UsageError as ``check_some_run``, at once: where no rule has to be asked about the whole space.

    A rule that forbids what is typed forbids all candidates that are alike in what it looks at.
    """
    try:
        settings = composer.settings(())
    except UsageError:
        return  # no configuration without what is searched
    found = None if settings.is_script else forbidding(settings)
    if found is None:
        return
    rule, read = found
    points: set[tuple[str, ...]] = {()}
    while True:
        axes = [name for name in space.parameters if _is_looked_at(name, read)]
        listed = [space.parameters[name].points() for name in axes]
        if None in listed or not all(map(_changes_itself_alone, axes)):
            return
        asked = {
            as_overrides(dict(zip(axes, p, strict=True))) for p in product(*filter(None, listed))
        }
        if len(asked) > _MOST_ASKED:
            return
        if asked <= points:
            break
        for overrides in asked - points:
            applies, more = looked_at(rule, composer.settings(overrides))
            if not applies:
                return
            read |= more
        points |= asked
    raise _nothing_runs(rule.reason(settings), settings, space.size)


def _is_looked_at(name: str, read: Iterable[str]) -> bool:
    """A group is, where one of its settings is."""
    plain = name.lstrip("+~").partition("@")[0]
    return any(r == plain or r.startswith(f"{plain}.") or plain.startswith(f"{r}.") for r in read)


def _changes_itself_alone(name: str) -> bool:
    """The device brings its workload along, and what is not ours whatever it likes."""
    return name.partition(".")[0] in _GROUPS and name != "hardware"


def check_some_run(
    planner: Planner, space: SearchSpace, conditions: Conditions, baseline: Point
) -> None:
    """Raises UsageError, with what would run, where the rules leave no candidate.

    Of a space that is too large that is only sure where the drawn have one reason: it then names nothing
    that is searched.
    """
    planned = planner.plan(baseline)
    if not isinstance(planned.ready, Infeasible):
        return
    reason, whole = planned.ready.reason, is_listed(space)
    looked_at = 0
    for point in space.points() if whole else drawn_points(space, conditions):
        looked_at += 1
        ready = planner.plan(point).ready
        if not isinstance(ready, Infeasible) or not (whole or ready.reason == reason):
            return
    raise _nothing_runs(reason, planned.settings, looked_at if whole else None)


def _nothing_runs(reason: str, settings: Settings, num_candidates: int | None) -> UsageError:
    from sweeper.hydra_edge.would_run import would_run

    of = "the" if num_candidates is None else f"the {num_candidates:,}"
    none = "" if num_candidates == 1 else f": none of {of} candidates can be run"
    changes = would_run(settings)
    advice = f"type {', or '.join(changes)}" if changes else "type other settings"
    return UsageError(f"{reason}{none}; {advice}")
