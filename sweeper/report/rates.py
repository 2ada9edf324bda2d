"""How a throughput is written: tokens/s with what is known of their spread."""

from __future__ import annotations

from sweeper.core.outcome import Stopped, measurement_of
from sweeper.core.quantities import format_rate
from sweeper.core.trial import Trial


def plus_minus(tokens_per_second: float, spread: float) -> str:
    """``"17,560 ± 870"``; both in tokens/s, the spread in two digits."""
    return f"{format_rate(tokens_per_second)} ± {format_rate(float(f'{spread:.2g}'))}"


def rate_in_the_search(trial: Trial) -> str:
    """With the spread of its steps; of a trial that was stopped how few they were: too few for one.

    Empty where it was not measured.
    """
    m = measurement_of(trial.outcome)
    if m is None:
        return ""
    if isinstance(trial.outcome, Stopped):
        steps = len(m.step_seconds)
        return f"{format_rate(m.tokens_per_second)} ({steps} step{'' if steps == 1 else 's'})"
    return plus_minus(m.tokens_per_second, m.tokens_per_second_mad)
