"""When the timed steps of a trial have told enough: exactly enough, or that it is clearly beaten."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.core.spec import TrialSpec
from sweeper.core.statistics import median_interval

# Before so many nothing is decided.
MIN_MEASURED_STEPS = 3


def is_enough(seconds: Sequence[float], spec: TrialSpec) -> bool:
    """Whether more steps would not tell more that is asked for."""
    if sum(seconds) > spec.max_seconds:
        return True
    interval = median_interval(seconds)
    return (
        len(seconds) >= spec.min_steps
        and interval.coverage >= 0.95
        and interval.relative_half_width <= spec.interval
    )


def is_beaten(seconds: Sequence[float], spec: TrialSpec) -> bool:
    """Whether even the fast end of the interval is slower than what could still win."""
    limit = spec.beaten_step_seconds
    return limit is not None and median_interval(seconds).low > limit
