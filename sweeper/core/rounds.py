"""What the rounds of a contest say of one entrant, or of two beside each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from sweeper.core.outcome import Measured, Outcome
from sweeper.core.ratios import Ratio, ratio_of

# By trial number, what became of each that took part.
Round: TypeAlias = Mapping[int, Outcome]


def measurements(rounds: Sequence[Round], number: int) -> Iterator[Measured]:
    """Those of one trial, round by round."""
    for found in rounds:
        outcome = found.get(number)
        if isinstance(outcome, Measured):
            yield outcome


def log_rates(rounds: Sequence[Round], number: int) -> list[float]:
    """Of each round in which it was measured, the logarithm of its tokens/s."""
    return [math.log(m.measurement.tokens_per_second) for m in measurements(rounds, number)]


def log_differences(rounds: Sequence[Round], one: int, other: int) -> list[float]:
    """Of log throughput, for each round in which both were measured."""
    pairs = ((found.get(one), found.get(other)) for found in rounds)
    return [
        math.log(a.measurement.tokens_per_second / b.measurement.tokens_per_second)
        for a, b in pairs
        if isinstance(a, Measured) and isinstance(b, Measured)
    ]


def throughput_ratio(rounds: Sequence[Round], one: int | None, other: int | None) -> Ratio | None:
    """``one``'s throughput over ``other``'s, from the rounds in which both were measured."""
    if one is None or other is None:
        return None
    return ratio_of(log_differences(rounds, one, other))


def mean_tokens_per_second(
    rounds: Sequence[Round], number: int, beside: int | None
) -> float | None:
    """The geometric mean of its rounds; told by its distance to ``beside``, whose own mean stands.

    So one rate over the other is the ratio that is told of the two, also where one sat rounds out
    that were faster or slower than the rest.
    """
    if beside is not None and (apart := log_differences(rounds, number, beside)):
        own = statistics.fmean(log_rates(rounds, beside))
        return math.exp(own + statistics.fmean(apart))
    rates = log_rates(rounds, number)
    return math.exp(statistics.fmean(rates)) if rates else None


def spread_of_rounds(rounds: Sequence[Round], number: int) -> float | None:
    """The standard deviation of its rounds, as a share of its throughput; None for fewer than two."""
    rates = log_rates(rounds, number)
    return statistics.stdev(rates) if len(rates) > 1 else None


def peak_bytes(rounds: Sequence[Round], number: int) -> int | None:
    """The largest of all rounds."""
    return max((m.measurement.peak_bytes for m in measurements(rounds, number)), default=None)
