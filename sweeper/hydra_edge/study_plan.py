"""What a study is going to do, put together for a person: size, what is ruled out, what it may cost."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from sweeper.core.files import read_object, write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.machine import Machine
from sweeper.core.memory_limit import memory_limit
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.settings import Settings
from sweeper.core.space import Point, SearchSpace
from sweeper.core.study import Budget
from sweeper.hydra_edge.conditions import Conditions
from sweeper.hydra_edge.planner import Planner
from sweeper.terminal import Budget as Shown
from sweeper.terminal import RuledOut, StudyPlan

# A space of so many points is looked through before the first trial: some milliseconds each.
MAX_LISTED_POINTS = 2_000
# Of a larger one so many are drawn, for a share that is off by a twentieth or so.
_DRAWN_POINTS = 400


def headline(settings: Settings, folder: StudyFolder) -> str:
    """Said at once: what follows takes some seconds to find out."""
    return f"study of {_model(settings)} in {folder.path}"


def shown_budget(budget: Budget, options: Mapping[str, Any]) -> Shown:
    """With the finals that may follow."""
    return Shown(
        trials=budget.trials,
        seconds=budget.seconds,
        finalists=int(options["finalists"]),
        finalist_rounds=int(options["finalist_rounds"]),
    )


def study_plan(
    settings: Settings,
    space: SearchSpace,
    *,
    planner: Planner,
    machine: Machine,
    environment: Mapping[str, Any],
    ruled_out: RuledOut | None,
    budget: Shown,
) -> StudyPlan:
    """Of the baseline's settings."""
    limit = memory_limit(settings, machine)
    return StudyPlan(
        model=_model(settings),
        num_parameters=planner.num_parameters(settings),
        ranks=settings.hardware.ranks,
        accelerator=settings.hardware.accelerator,
        device=str(environment.get("device") or "unknown"),
        memory_limit_bytes=limit.bytes if limit else None,
        global_batch_size=settings.workload.global_batch_size,
        sequence_length=None if settings.is_script else settings.workload.sequence_length,
        parameters=tuple(space.parameters),
        space_size=space.size,
        ruled_out=ruled_out,
        budget=budget,
        runner=settings.launch.runner,
        max_seconds=float(settings.measure.max_seconds),
    )


def look_through(planner: Planner, space: SearchSpace, conditions: Conditions) -> RuledOut:
    """How much of a space is not worth a trial, and why."""
    whole = is_listed(space)
    points = space.points() if whole else drawn_points(space, conditions)
    found: dict[str, dict[str, Any]] = {}
    looked_at = 0
    for point in points:
        looked_at += 1
        refused = planner.plan(point).ready
        if isinstance(refused, Infeasible | Unsupported):
            rule = refused.rule if isinstance(refused, Infeasible) else "unsupported"
            entry = found.setdefault(rule, {"candidates": 0, "reason": refused.reason})
            entry["candidates"] += 1
    return _ruled_out(looked_at, found, is_sample=not whole)


def write_ruled_out(folder: StudyFolder, told: RuledOut) -> None:
    """Where the space was looked through whole."""
    if told.is_sample:
        return
    rules = {n: {"candidates": num, "reason": reason} for n, (num, reason) in told.rules.items()}
    write_json(folder.ruled_out, {"schema_version": 1, "space": told.num_points, "rules": rules})


def known_ruled_out(folder: StudyFolder) -> RuledOut | None:
    """What an earlier run of the study has written."""
    document = read_object(folder.ruled_out)
    try:
        return _ruled_out(int(document["space"]), document["rules"], is_sample=False)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _ruled_out(num: int, rules: Mapping[str, Mapping[str, Any]], *, is_sample: bool) -> RuledOut:
    told = {rule: (int(e["candidates"]), str(e["reason"])) for rule, e in rules.items()}
    return RuledOut(num_points=num, is_sample=is_sample, rules=told)


def is_listed(space: SearchSpace) -> bool:
    """Whether it is looked through whole."""
    return space.size is not None and space.size <= MAX_LISTED_POINTS


def drawn_points(space: SearchSpace, conditions: Conditions) -> Iterable[Point]:
    """As a sampler would: a parameter that does nothing beside those before it is left out."""
    from sweeper.search.encoding import drawn

    for whole in drawn(space, _DRAWN_POINTS, random.Random(1)):
        point: dict[str, str] = {}
        for name, value in whole.items():
            if conditions.acts(name, point):
                point[name] = value
        yield point


def _model(settings: Settings) -> str:
    return str(settings.model.get("name", settings.model_target))
