"""One row for each finished trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper.core.measurement import Measurement
from sweeper.core.outcome import (
    Infeasible,
    Measured,
    Outcome,
    OutOfMemory,
    Stopped,
    TimedOut,
    kind_of,
    measurement_of,
    reason_of,
)
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.trial import Trial
from sweeper.terminal.words import fitted, printable, wrapped

# From this width on there is room for the time of a step.
WIDE = 110
_SETTINGS_LINES = 2


def changes(point: Mapping[str, str], baseline: Mapping[str, str]) -> tuple[str, ...]:
    """The overrides of a candidate that its baseline does not have; of a baseline all there is to say."""
    if point == baseline or not point:
        return ("baseline",)
    differing = tuple(f"{n}={v}" for n, v in point.items() if baseline.get(n) != v)
    return differing or tuple(f"{n}={v}" for n, v in point.items())


def head(width: int) -> str:
    """The columns' names."""
    step = f"  {'step':>8}" if width >= WIDE else ""
    return f"trial  {'tokens/s':>16}{step}  {'gain':>5}  {'peak mem':>9}  settings"


def rows(trial: Trial, settings: Sequence[str], *, gain: float | None, width: int) -> list[str]:
    """Columns under ``head``: a line, and where the settings or a failure's reason need them a few more."""
    middle = _numbers(trial.outcome, gain, width)
    indent = 7 + len(middle) + 2
    first, *more = wrapped(" ".join(settings), max(width - indent, 20), lines=_SETTINGS_LINES)
    found = [f"{trial.number:>5}  {middle}  {first}", *(" " * indent + line for line in more)]
    if _is_worth_a_reason(trial.outcome):
        found.append(" " * 7 + fitted(_one_line(reason_of(trial.outcome)), width - 7))
    return [printable(line).rstrip() for line in found]


def plain_row(trial: Trial, settings: Sequence[str], *, gain: float | None = None) -> str:
    """Everything in one line, for what is not a terminal."""
    times = "" if gain is None else f"×{gain:.2f}"
    text = f"{summary(trial.outcome):<58}  {times:<6}" if times else f"{summary(trial.outcome):<58}"
    return printable(_one_line(f"trial {trial.number:>3}  {text}  {' '.join(settings)}", keep=True))


def summary(outcome: Outcome) -> str:
    """``"1,234 tokens/s ±2 %  step 0.42 s  peak 1.20 GiB"``, or why there is no number."""
    if isinstance(outcome, Measured):
        m = outcome.measurement
        return (
            f"{format_rate(m.tokens_per_second)} tokens/s ±{_spread(m):.1%}"
            f"  step {m.median_step_seconds:.3g} s  peak {format_bytes(m.peak_bytes)}"
        )
    return f"{kind_of(outcome)}: {reason_of(outcome)}"


def step_in_words(seconds: float) -> str:
    """``"13.7 ms"``, ``"2.41 s"``."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def _numbers(outcome: Outcome, gain: float | None, width: int) -> str:
    """The columns between number and settings."""
    step_width = 10 if width >= WIDE else 0
    m = measurement_of(outcome)
    if m is None:
        return f"{_kind(outcome):<{16 + step_width + 2 + 5 + 2 + 9}}"
    rate = format_rate(m.tokens_per_second)
    told = f"~{rate} stopped" if isinstance(outcome, Stopped) else f"{rate} {_plus_minus(m)}"
    step = f"  {step_in_words(m.median_step_seconds):>8}" if step_width else ""
    times = "" if gain is None else f"×{gain:.2f}" if gain < 99.5 else f"×{gain:.0f}"
    return f"{told:>16}{step}  {times:>5}  {format_bytes(m.peak_bytes):>9}"


def _plus_minus(m: Measurement) -> str:
    """Three digits at most, so that the column holds."""
    spread = _spread(m)
    return f"±{spread:.1%}" if spread < 0.0995 else f"±{spread:.0%}"


def _spread(m: Measurement) -> float:
    return m.tokens_per_second_mad / m.tokens_per_second


def _kind(outcome: Outcome) -> str:
    """In words, and short: the reason stands below, or in the plan."""
    match outcome:
        case OutOfMemory():
            return f"out of memory in {outcome.phase}"
        case TimedOut():
            return f"timed out in {outcome.phase}"
        case Infeasible():
            return f"ruled out: {outcome.rule}"[:34]
        case _:
            return kind_of(outcome).replace("-", " ")


def _is_worth_a_reason(outcome: Outcome) -> bool:
    """Not what the plan or a beaten trial says in a column."""
    return not isinstance(outcome, Measured | Stopped | Infeasible | OutOfMemory)


def _one_line(text: str, *, keep: bool = False) -> str:
    """``keep``: columns made of spaces."""
    return text.replace("\n", " ") if keep else " ".join(text.split())
