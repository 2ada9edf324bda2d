"""What the rounds of a contest say of one entrant, or of two beside each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from sweeper.core.objective import THROUGHPUT, Objective
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


def log_differences(
    rounds: Sequence[Round], one: int, other: int, objective: Objective = THROUGHPUT
) -> list[float]:
    """Of each round in which both were measured: how much more ``one`` is worth, as a logarithm."""
    pairs = ((found.get(one), found.get(other)) for found in rounds)
    return [
        objective.worth(a.measurement) - objective.worth(b.measurement)
        for a, b in pairs
        if isinstance(a, Measured) and isinstance(b, Measured)
    ]


def log_over_floor(
    rounds: Sequence[Round], number: int, objective: Objective, baseline: int | None
) -> list[float]:
    """Of each round, the logarithm of its throughput over the floor of memory, as far as there is one.

    Unless a floor was typed it is what the baseline reached in the same round.
    """
    if objective.kind != "memory":
        return []
    floor = objective.throughput_floor
    if floor is None:
        return [] if baseline is None else log_differences(rounds, number, baseline)
    return [rate - math.log(floor) for rate in log_rates(rounds, number)] if floor else []


def throughput_ratio(rounds: Sequence[Round], one: int | None, other: int | None) -> Ratio | None:
    """``one``'s throughput over ``other``'s, from the rounds in which both were measured."""
    return worth_ratio(rounds, one, other, THROUGHPUT)


def worth_ratio(
    rounds: Sequence[Round], one: int | None, other: int | None, objective: Objective
) -> Ratio | None:
    """How many times better ``one`` is by the objective: above 1 it is, of memory too."""
    if one is None or other is None:
        return None
    return ratio_of(log_differences(rounds, one, other, objective))


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
