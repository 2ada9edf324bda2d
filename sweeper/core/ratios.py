"""The ratio of two throughputs that were measured in pairs, with its interval."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Of tokens/s; the true one lies between ``low`` and ``high`` with the asked probability."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """``1.31 (1.28 to 1.34)``"""
        return f"{short(self.value)} ({short(self.low)} to {short(self.high)})"

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @staticmethod
    def from_json(document: Mapping[str, float] | None) -> Ratio | None:
        return None if document is None else Ratio(**document)


def short(value: float) -> str:
    """Two decimals; of what is too small for them two digits, of what is large three."""
    if value >= 100:
        return f"{value:.3g}"
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.2g}"


def with_spread(value: float, spread: float) -> str:
    """``"1.12 (± 0.05)"``"""
    return f"{short(value)} (± {short_spread(spread, value)})"


def short_spread(spread: float, of: float) -> str:
    """Of a ratio: two decimals, or two digits where those would be nothing or its own are more."""
    return f"{spread:.2f}" if not spread or min(spread, of / 20) >= 0.005 else f"{spread:.2g}"


def ratio_of(log_differences: Sequence[float], *, coverage: float = 0.95) -> Ratio | None:
    """From one difference of log throughputs for each pair; None for fewer than two pairs.

    What slows both of a pair down by the same factor cancels.
    """
    if len(log_differences) < 2:
        return None
    mean = statistics.fmean(log_differences)
    half = t_quantile(0.5 + coverage / 2, len(log_differences) - 1) * _error(log_differences)
    return Ratio(value=math.exp(mean), low=_exp(mean - half), high=_exp(mean + half))


def ratio_of_separate(
    one: Sequence[float], other: Sequence[float], *, coverage: float = 0.95
) -> Ratio | None:
    """From the log throughputs of runs that were not paired (Welch); None for fewer than two of either.

    Its degrees of freedom are rounded down, which can only widen the interval.
    """
    if min(len(one), len(other)) < 2:
        return None
    mean = statistics.fmean(one) - statistics.fmean(other)
    errors = [_error(values) ** 2 for values in (one, other)]
    total = sum(errors)
    shares = sum(e**2 / (len(values) - 1) for e, values in zip(errors, (one, other), strict=True))
    degrees = max(int(total**2 / shares), 1) if shares else 1
    half = t_quantile(0.5 + coverage / 2, degrees) * math.sqrt(total)
    return Ratio(value=math.exp(mean), low=_exp(mean - half), high=_exp(mean + half))


def is_above_zero(log_differences: Sequence[float], *, error: float) -> bool:
    """Whether their mean is, said wrongly with probability ``error`` at most."""
    if len(log_differences) < 2:
        return False
    margin = t_quantile(1 - error, len(log_differences) - 1) * _error(log_differences)
    return statistics.fmean(log_differences) > margin


def _error(values: Sequence[float]) -> float:
    """The standard error of their mean."""
    return statistics.stdev(values) / math.sqrt(len(values))


def _exp(value: float) -> float:
    """Two pairs that disagree can give an interval that no float holds."""
    return math.exp(min(value, 700.0))


@functools.cache
def t_quantile(probability: float, degrees: int) -> float:
    """Of Student's t, for a probability above one half.

    Bisects the closed form of the distribution for whole degrees of freedom (Abramowitz and Stegun,
    Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        if _within(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """P(|t| <= sqrt(degrees) tan(angle))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for i in range(3 if odd else 2, degrees - 1, 2):
        term *= (i - 1) / i * cosine**2
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
