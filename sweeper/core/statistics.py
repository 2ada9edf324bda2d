"""The statistics of step times: medians and their intervals, and whether a warm-up has settled."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """``coverage`` is the probability, at least, that the true value lies within."""

    low: float
    high: float
    coverage: float

    @property
    def relative_half_width(self) -> float:
        """Half the width over the middle."""
        return (self.high - self.low) / (self.high + self.low)


def median_absolute_deviation(values: Sequence[float]) -> float:
    """The median distance from the median, unscaled."""
    center = statistics.median(values)
    return statistics.median(abs(v - center) for v in values)


def median_interval(values: Sequence[float], coverage: float = 0.95) -> Interval:
    """The narrowest symmetric pair of order statistics that covers the median so often.

    Distribution-free: the number of values below the true median is binomial(n, 1/2) (Conover,
    Practical Nonparametric Statistics, section 3.2). Fewer than six values cannot reach 95 %: the
    whole range is given, with the coverage that it has. Raises ValueError for no values.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n == 0:
        raise ValueError("the interval of no values")
    inner = 0
    while inner + 1 < (n + 1) // 2 and _coverage(n, inner + 1) >= coverage:
        inner += 1
    return Interval(low=ordered[inner], high=ordered[n - 1 - inner], coverage=_coverage(n, inner))


def _coverage(n: int, left_out: int) -> float:
    """Of the interval that leaves out so many values at each end."""
    tail = sum(math.comb(n, k) for k in range(left_out + 1)) / float(2**n)
    return max(0.0, 1.0 - 2.0 * tail)


def has_settled(step_seconds: Sequence[float], *, within: float) -> bool:
    """Whether the last step was no longer faster than the one before by more than ``within``.

    Warm-up (allocator growth, lazy states, compilation) makes steps faster and faster; a step that
    is slower than the last one is noise, and says that the descent has ended.
    """
    if len(step_seconds) < 2:
        return False
    before, last = step_seconds[-2:]
    return last >= before * (1 - within)
