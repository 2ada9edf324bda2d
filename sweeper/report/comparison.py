"""What several studies have in common, in what they differ, and how their throughputs compare."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured
from sweeper.core.ratios import Ratio, ratio_of_separate, with_spread
from sweeper.core.trial import Trial
from sweeper.report.compared_study import ComparedStudy
from sweeper.report.knobs import shown_value
from sweeper.report.unequal_work import unequal_work

# A machine of the same kind is as good; the rest of an environment decides what a number means.
_SAME_KIND = ("host",)
# Of how a study was made, what says nothing of it.
_NOT_TOLD = ("study_name", "storage", "resume", "direction", "custom_search_space")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One line of what is not the same: a value for each study."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """A throughput over another, with an ``interval`` of both finals, else the ``spread`` of their steps.

    ``estimate``: one of the two was stopped after a few steps.
    """

    value: float
    interval: Ratio | None
    spread: float
    estimate: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether it is more than what noise explains."""
        if self.interval is not None:
            return not self.interval.low <= 1.0 <= self.interval.high
        return abs(self.value - 1.0) > self.spread

    def __str__(self) -> str:
        """``1.12 (1.08 to 1.16)``, or ``1.12 (± 0.05)`` where each ran once."""
        return str(self.interval) if self.interval else with_spread(self.value, self.spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same candidate in two studies: ``times`` is the other's throughput over the first's."""

    first: Trial
    other: Trial
    times: Times | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``fixed`` are settings that each study held at a value of its own, ``searched`` what they tried."""

    studies: tuple[ComparedStudy, ...]
    environment: tuple[Difference, ...]
    fixed: tuple[Difference, ...]
    searched: tuple[Difference, ...]
    made: tuple[Difference, ...]

    @property
    def unequal_environments(self) -> tuple[str, ...]:
        """In what they are of another kind."""
        return tuple(d.name for d in self.environment if d.name not in _SAME_KIND)

    @property
    def unequal_training(self) -> tuple[str, ...]:
        """The settings that make the work of trials another, between studies or within one."""
        return unequal_work(t for study in self.studies for t in study.trials)

    @property
    def ranked_together(self) -> bool:
        return not self.unequal_environments and not self.unequal_training

    def pairs(self, other: ComparedStudy) -> list[Pair]:
        """Of ``other`` and the first study: candidates that differ in nothing but the ``fixed`` settings."""
        first = self.studies[0]
        there = {self._key(t): t for t in other.trials}
        both = ((t, there[key]) for t in first.trials if (key := self._key(t)) in there)
        return [
            Pair(first=one, other=two, times=times(other, two, first, one)) for one, two in both
        ]

    def _key(self, trial: Trial) -> str:
        """A candidate's own key, without what the studies themselves differ in."""
        settings = json.loads(trial.key)
        left_out = {d.name for d in self.fixed}
        kept = {name: value for name, value in settings.items() if name not in left_out}
        return json.dumps(kept, sort_keys=True)


def compare(studies: Sequence[ComparedStudy]) -> Comparison:
    """Two or more."""
    return Comparison(
        studies=tuple(studies),
        environment=tuple(_environment(studies)),
        fixed=tuple(_fixed(studies)),
        searched=tuple(_searched(studies)),
        made=tuple(_made(studies)),
    )


def times(of: ComparedStudy, trial: Trial, over: ComparedStudy, reference: Trial) -> Times | None:
    """None where one of the two was not measured.

    They did not take turns: what is slower today than yesterday is not taken out of it.
    """
    one, two = (study.measured.get(t.key) for study, t in ((of, trial), (over, reference)))
    if one is None or two is None:
        return None
    logs = [[math.log(r) for r in s.rounds(t)] for s, t in ((of, trial), (over, reference))]
    interval = ratio_of_separate(*logs)
    value = one[1].tokens_per_second / two[1].tokens_per_second
    return Times(
        value=interval.value if interval else value,
        interval=interval,
        spread=value * math.hypot(_spread(one[1]), _spread(two[1])),
        estimate=interval is None
        and not all(isinstance(t.outcome, Measured) for t in (trial, reference)),
    )


def _spread(m: Measurement) -> float:
    return m.tokens_per_second_mad / m.tokens_per_second


def _environment(studies: Sequence[ComparedStudy]) -> Iterator[Difference]:
    names = dict.fromkeys(n for study in studies for e in study.environments for n in e)
    for name in names:
        values = tuple(
            " and ".join(dict.fromkeys(_environment_value(e.get(name)) for e in s.environments))
            for s in studies
        )
        # A study that went on elsewhere is not equal to itself.
        if len(set(values)) > 1 or any(" and " in value for value in values):
            yield Difference(name=name, values=values)


def _environment_value(value: Any) -> str:
    return "none" if value is None else str(value)


def _fixed(studies: Sequence[ComparedStudy]) -> Iterator[Difference]:
    """What no study varied, and each holds otherwise."""
    names = dict.fromkeys(n for s in studies for t in s.trials for n in t.settings)
    for name in names:
        found = [{shown_value(t.settings.get(name)) for t in s.trials} for s in studies]
        if all(len(values) == 1 for values in found):
            values = tuple(next(iter(values)) for values in found)
            if len(set(values)) > 1:
                yield Difference(name=name, values=values)


def _searched(studies: Sequence[ComparedStudy]) -> Iterator[Difference]:
    """By what study.yaml says; a plain grid has none and is told by its trials."""
    spaces = [study.study.get("space") or {} for study in studies]
    for name in dict.fromkeys(n for space in spaces for n in space):
        values = tuple(_domain(space.get(name)) for space in spaces)
        if len(set(values)) > 1:
            yield Difference(name=name, values=values)


def _domain(values: Any) -> str:
    if values is None:
        return "not searched"
    return ", ".join(map(str, values)) if isinstance(values, list) else str(values)


def _made(studies: Sequence[ComparedStudy]) -> Iterator[Difference]:
    """What they were after, and how hard they looked."""
    for group, prefix in (("objective", "objective."), ("sweeper", "hydra.sweeper.")):
        options = [_options(study.study, group) for study in studies]
        for name in dict.fromkeys(n for given in options for n in given):
            values = tuple(shown_value(given.get(name)) for given in options)
            if name not in _NOT_TOLD and len(set(values)) > 1:
                yield Difference(name=f"{prefix}{name}", values=values)


def _options(study: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    found = study.get("config", {}).get(group) if group == "objective" else study.get(group)
    return found or {}
