"""How much of the difference in throughput goes along with each option."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.core.equivalence import loss_differences
from sweeper.core.outcome import measurement_of
from sweeper.core.trial import Trial
from sweeper.report.knobs import Knobs

# Of fewer measured trials nothing can be told.
_FEWEST_TRIALS = 8
# Numbers of which each was tried less often than this are put into groups, else each explained its own trial.
_FEWEST_A_VALUE = 3
_MOST_GROUPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Between:
    """What lies between the means of groups, less what chance puts there; ``is_clear``: chance does not do that."""

    squares: float
    is_clear: bool


def explained(trials: Sequence[Trial], knobs: Knobs) -> dict[str, float]:
    """Option -> its share of the variance of the logarithm of tokens/s; empty where chance may explain all.

    Of the measured trials, by their estimates where they were stopped early; not of those that train
    differently. It is what lies between the means of the option's values, less what chance alone puts
    there (epsilon squared). Where options were not tried evenly the shares overlap.
    """
    rates = _log_rates(trials)
    whole = _squares(list(rates.values()))
    if len(rates) < _FEWEST_TRIALS or not whole:
        return {}
    measured = [t for t in trials if t.number in rates]
    found: dict[str, _Between] = {}
    for name in knobs.names:
        # Where an option does not act it explains nothing.
        values = {t.number: v for t in measured if (v := knobs.value(t, name)) is not None}
        if (between := _between(_grouped(values), rates)) is not None:
            found[name] = between
    if not any(between.is_clear for between in found.values()):
        return {}
    return {name: between.squares / whole for name, between in found.items()}


def _log_rates(trials: Sequence[Trial]) -> dict[int, float]:
    differences = loss_differences(trials)
    return {
        t.number: math.log(m.tokens_per_second)
        for t in trials
        if (m := measurement_of(t.outcome)) is not None
        and not (t.number in differences and differences[t.number].trains_differently)
    }


def _grouped(values: Mapping[int, str]) -> list[list[int]]:
    """The trials' numbers by value, or by quarters of the values."""
    keys: Mapping[int, object] = values
    distinct = len(set(values.values()))
    if distinct > _MOST_GROUPS and len(values) < _FEWEST_A_VALUE * distinct:
        keys = _quarters(values) or values
    groups: dict[object, list[int]] = {}
    for number, key in keys.items():
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def _quarters(values: Mapping[int, str]) -> dict[int, int]:
    """Equal numbers stay together; nothing of what is no number."""
    try:
        ordered = sorted(map(float, values.values()))
    except ValueError:
        return {}
    return {
        number: bisect_left(ordered, float(value)) * _MOST_GROUPS // len(ordered)
        for number, value in values.items()
    }


def _between(groups: Sequence[Sequence[int]], rates: Mapping[int, float]) -> _Between | None:
    """None where even groups that explain all would be no more than chance."""
    count, freedom = sum(map(len, groups)), len(groups) - 1
    if freedom < 1 or count - len(groups) < 1:
        return None
    # Where nothing depends on the groups, their share has a beta distribution with this mean and deviation.
    mean = freedom / (count - 1)
    by_chance = mean + 2 * math.sqrt(2 * mean * (1 - mean) / (count + 1))
    if by_chance >= 1:
        return None
    whole = _squares([rates[n] for group in groups for n in group])
    within = sum(_squares([rates[n] for n in group]) for group in groups)
    return _Between(
        squares=max(whole - within - freedom * within / (count - len(groups)), 0.0),
        is_clear=whole - within > by_chance * whole,
    )


def _squares(values: Sequence[float]) -> float:
    """Of the distances from their mean."""
    mean = statistics.fmean(values) if values else 0.0
    return sum((value - mean) ** 2 for value in values)
