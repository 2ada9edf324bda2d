"""What each option did to the throughput, from trials that differ in nothing else where there are any."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweeper.core.finalists import FinalistsResult
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, measurement_of
from sweeper.core.ratios import Ratio
from sweeper.core.rounds import peak_bytes, throughput_ratio
from sweeper.core.trial import Trial
from sweeper.report.knobs import Knobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """``trial``'s tokens/s over ``other``'s; an ``interval`` of the finals, else a spread of their steps.

    What is told of their memory is from where the ratio is from.
    ``estimate``: one of the two was stopped after a few steps.
    """

    trial: int
    other: int
    times: float
    spread: float
    interval: Ratio | None
    more_bytes: int
    estimate: bool

    @property
    def is_clear(self) -> bool:
        """Whether it is more than what its steps differ by."""
        if self.interval is not None:
            return not self.interval.low <= 1.0 <= self.interval.high
        return abs(self.times - 1.0) > self.spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Of one option that the winner has otherwise than the baseline.

    ``near`` says beside whom the pair was found: the winner, the baseline, or neither. Without a pair
    there is only ``explains``, the option's share in how all throughputs differ.
    """

    knob: str
    before: str
    after: str
    pair: Compared | None
    near: str
    pairs: int
    explains: float | None


def compared(trial: Trial, other: Trial, finals: FinalistsResult | None) -> Compared | None:
    """None where one of the two was not measured."""
    one, two = measurement_of(trial.outcome), measurement_of(other.outcome)
    if one is None or two is None:
        return None
    ratio = throughput_ratio(finals.rounds, trial.number, other.number) if finals else None
    times = one.tokens_per_second / two.tokens_per_second
    peaks = [m.peak_bytes for m in (one, two)]
    if ratio is not None and finals is not None:
        peaks = [peak_bytes(finals.rounds, t.number) or 0 for t in (trial, other)]
    return Compared(
        trial=trial.number,
        other=other.number,
        times=ratio.value if ratio else times,
        spread=times * math.hypot(_spread(one), _spread(two)),
        interval=ratio,
        more_bytes=peaks[0] - peaks[1],
        estimate=ratio is None
        and not (isinstance(trial.outcome, Measured) and isinstance(other.outcome, Measured)),
    )


def _spread(m: Measurement) -> float:
    return m.tokens_per_second_mad / m.tokens_per_second


def effects(
    winner: Trial,
    baseline: Trial,
    trials: Sequence[Trial],
    knobs: Knobs,
    *,
    finals: FinalistsResult | None = None,
    explained: Mapping[str, float],
) -> list[Effect]:
    """One for each option that the two differ in, the largest first."""
    groups = Neighbourhoods(trials, knobs)
    found = [
        _effect(name, winner, baseline, groups, knobs, finals, explained)
        for name in knobs.differing(winner, baseline)
    ]
    return sorted(found, key=lambda e: -abs(math.log(e.pair.times)) if e.pair else 0.0)


def _effect(
    name: str,
    winner: Trial,
    baseline: Trial,
    groups: Neighbourhoods,
    knobs: Knobs,
    finals: FinalistsResult | None,
    explained: Mapping[str, float],
) -> Effect:
    before, after = knobs.values[baseline.number][name], knobs.values[winner.number][name]
    near, pair, count = "", None, 0
    if (found := groups.beside(winner, name, before)) is not None:
        near, pair, count = "winner", compared(winner, found, finals), 1
    elif (found := groups.beside(baseline, name, after)) is not None:
        near, pair, count = "baseline", compared(found, baseline, finals), 1
    else:
        pairs = [p for a, b in groups.pairs(name, after, before) if (p := compared(a, b, finals))]
        if pairs:
            near, pair, count = "elsewhere", middle(pairs), len(pairs)
    return Effect(
        knob=name,
        before=before,
        after=after,
        pair=pair,
        near=near,
        pairs=count,
        explains=explained.get(name),
    )


def middle(pairs: Sequence[Compared]) -> Compared:
    """The one whose ratio is the median, the lower of two."""
    median = statistics.median_low([pair.times for pair in pairs])
    return next(pair for pair in pairs if pair.times == median)


class Neighbourhoods:
    """Finds measured trials that differ in one option alone."""

    def __init__(self, trials: Sequence[Trial], knobs: Knobs) -> None:
        self._knobs = knobs
        self._measured = [t for t in trials if measurement_of(t.outcome) is not None]

    def beside(self, trial: Trial, name: str, value: str) -> Trial | None:
        """The measured one that has another ``value`` of ``name`` and is otherwise as ``trial``; the fastest."""
        shared = [
            t
            for t in self._measured
            if self._knobs.value(t, name) == value and self._knobs.differing(t, trial) == [name]
        ]
        return max(shared, key=_rate, default=None)

    def pairs(self, name: str, value: str, other: str) -> Iterator[tuple[Trial, Trial]]:
        """All pairs of measured trials that differ in ``name`` alone, which is ``value`` and ``other``."""
        with_other: dict[frozenset[tuple[str, str]], list[Trial]] = defaultdict(list)
        for t in self._measured:
            if self._knobs.value(t, name) == other:
                with_other[self._rest(t, name)].append(t)
        for t in self._measured:
            if self._knobs.value(t, name) == value:
                for found in with_other[self._rest(t, name)]:
                    yield t, found

    def _rest(self, trial: Trial, name: str) -> frozenset[tuple[str, str]]:
        return frozenset((n, v) for n, v in self._knobs.values[trial.number].items() if n != name)


def _rate(trial: Trial) -> float:
    m = measurement_of(trial.outcome)
    return m.tokens_per_second if m is not None else 0.0
