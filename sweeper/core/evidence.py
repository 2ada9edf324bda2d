"""What the trials of an earlier study let this one expect: evidence, never results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.core.equivalence import ranking
from sweeper.core.measurement import Measurement
from sweeper.core.objective import Objective
from sweeper.core.outcome import Measured, OutOfMemory, measurement_of
from sweeper.core.pareto import pareto_front
from sweeper.core.settings import Settings
from sweeper.core.space import Point, identity
from sweeper.core.trial import Trial

# Of an environment, what decides how much memory the same work takes; the host may be another.
_SAME_MACHINE = ("accelerator", "device", "torch", "deepspeed", "cuda")
_SAME_MODEL = ("model.",)
_SAME_WORK = ("model.", "workload.", "hardware.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """``trials`` are the earlier study's.

    ``peaks`` are those that say something of this study's memory: of the same model on the same
    machine. ``same_work``: what could be run there can be run here, and what could not, not.
    """

    trials: tuple[Trial, ...] = ()
    peaks: tuple[Trial, ...] = ()
    same_work: bool = False

    @property
    def too_large(self) -> list[Point]:
        """Points that ran out of memory, where that says something of this study's."""
        failed = [t.point for t in self.trials if isinstance(t.outcome, OutOfMemory)]
        return failed if self.same_work else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a point is expected to score here (a logarithm, as ``Objective.score`` has it)."""

    point: Point
    score: float


def evidence_of(
    trials: Sequence[Trial], settings: Settings, environment: Mapping[str, Any]
) -> Evidence:
    """``settings`` are those of this study's baseline, ``environment`` is its machine's."""
    if not trials:
        return Evidence()
    first, ours = trials[0].settings, settings.flat()
    # One environment a study; a trial that failed may not have said it.
    theirs = next((t.environment for t in trials if t.environment), {})
    if any(theirs.get(name) != environment.get(name) for name in _SAME_MACHINE):
        return Evidence(trials=tuple(trials))
    same_model = _part(first, _SAME_MODEL) == _part(ours, _SAME_MODEL)
    return Evidence(
        trials=tuple(trials),
        peaks=tuple(trials) if same_model else (),
        same_work=_part(first, _SAME_WORK) == _part(ours, _SAME_WORK),
    )


def _part(settings: Mapping[str, Any], groups: tuple[str, ...]) -> Mapping[str, Any]:
    return {name: value for name, value in settings.items() if name.startswith(groups)}


def expected_gains(
    trials: Sequence[Trial], baseline: Trial, objective: Objective
) -> Iterator[Expected]:
    """Each measured point's gain over the baseline's point there, put on top of the baseline here.

    Nothing where either of the two was not measured: without both there is no scale.
    """
    ours, theirs = measurement_of(baseline.outcome), _measured_at(baseline.point, trials)
    if ours is None or theirs is None:
        return
    there = objective.scaled(theirs.tokens_per_second / ours.tokens_per_second)
    shift = objective.score(ours) - there.score(theirs)
    for trial in trials:
        if (m := measurement_of(trial.outcome)) is not None:
            yield Expected(point=trial.point, score=there.score(m) + shift)


def _measured_at(point: Point, trials: Sequence[Trial]) -> Measurement | None:
    """Mostly their baseline's; where theirs was another, a trial of the same point."""
    same = (t for t in trials if identity(t.point) == identity(point))
    return next((t.outcome.measurement for t in same if isinstance(t.outcome, Measured)), None)


def best_points(trials: Sequence[Trial], objective: Objective) -> list[Point]:
    """Of the earlier study, by its own floor; of a front all that are on it."""
    if not trials:
        return []
    ranked = ranking(trials, objective.without_floor().beside(trials[0]))
    if len(objective.directions) > 1:
        spots = {t.number: _spot(t) for t in ranked}
        front = pareto_front(list(spots.values()))
        ranked = [trial for trial in ranked if spots[trial.number] in front]
    return [trial.point for trial in ranked]


def _spot(trial: Trial) -> tuple[float, float]:
    m = measurement_of(trial.outcome)
    assert m is not None
    return (float(m.peak_bytes), m.tokens_per_second)
