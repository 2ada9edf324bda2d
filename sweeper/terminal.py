"""What a person sees while trials run: progress on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

from sweeper.core.outcome import Measured, Outcome, kind_of, reason_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.trial import Trial
from sweeper.errors import SweeperError


def exit_with(error: SweeperError) -> NoReturn:
    """Ends the command with the error's line and exit code."""
    print(f"sweeper: {error}", file=sys.stderr, flush=True)
    raise SystemExit(error.exit_code)


class Terminal:
    """A live line where there is a terminal, plain lines where there is none."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(escape(text))

    def conclude(self, text: str) -> None:
        """A result: goes to stdout."""
        Console(highlight=False, soft_wrap=True).print(escape(text))

    @contextmanager
    def trial_in_hand(
        self, number: int, overrides: Sequence[str]
    ) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Gives a function that is told the trial's progress and shows it."""
        title = f"trial {number}  {' '.join(overrides)}"
        if not self._console.is_terminal:
            yield lambda progress: None
            return
        with self._console.status(escape(f"{title}  starting")) as status:

            def watch(progress: Mapping[str, Any]) -> None:
                step = f" step {progress['step']}/{progress['of']}" if "step" in progress else ""
                status.update(escape(f"{title}  {progress['phase']}{step}"))

            yield watch

    def row(self, trial: Trial, overrides: Sequence[str]) -> None:
        """One line for a finished trial; ``overrides`` are those that tell it from the others."""
        self.say(f"trial {trial.number:>3}  {summary(trial.outcome):<58}  {' '.join(overrides)}")


def summary(outcome: Outcome) -> str:
    """``"1,234 tokens/s ±2 %  step 0.42 s  peak 1.20 GiB"``, or why there is no number."""
    if isinstance(outcome, Measured):
        m = outcome.measurement
        spread = m.tokens_per_second_mad / m.tokens_per_second
        return (
            f"{format_rate(m.tokens_per_second)} tokens/s ±{spread:.1%}"
            f"  step {m.median_step_seconds:.3g} s  peak {format_bytes(m.peak_bytes)}"
        )
    return f"{kind_of(outcome)}: {reason_of(outcome)}"
