"""What the parts of the sweeper tell of a study, and a person then sees."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Protocol

from sweeper.core.finalists import Contest
from sweeper.core.memory.calibration import MemoryEstimate
from sweeper.core.trial import Trial
from sweeper.terminal.live_text import live_lines
from sweeper.terminal.plain import Plain, is_watched
from sweeper.terminal.plan_text import StudyPlan, plan_text
from sweeper.terminal.rows import changes, head, plain_row, rows
from sweeper.terminal.state import (
    InHand,
    State,
    contest_began,
    ended,
    final_ended,
    gain_of,
    progressed,
)
from sweeper.terminal.words import Line, printable, wrapped


class Output(Protocol):
    """``width`` is None where lines are not broken and nothing is drawn."""

    @property
    def width(self) -> int | None: ...

    def say(self, text: str, style: str = "") -> None: ...

    def view(self, lines: Callable[[int], list[Line]]) -> AbstractContextManager[None]:
        """Draws them below what is said, until it is left."""

    def acknowledge(self, text: str) -> None:
        """Within a signal handler: takes no lock, and prints through no buffer."""


class Terminal:
    """Progress goes to ``output``, results to stdout. ``terminal()`` is this process's."""

    def __init__(
        self, output: Output | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output = output or _output()
        self._clock = clock
        self._state = State()
        self._notice = ""

    @property
    def state(self) -> State:
        return self._state

    def say(self, text: str) -> None:
        self._output.say("\n".join(_broken(printable(text), self._output.width)))

    def conclude(self, text: str) -> None:
        """A result."""
        print("\n".join(_broken(printable(text), result_width())), flush=True)

    def plan(self, plan: StudyPlan) -> None:
        self._output.say(plan_text(plan, self._output.width))

    @contextmanager
    def study(self, state: State) -> Iterator[None]:
        """Shows a study until it is left; ``state`` is how it begins."""
        self._state = replace(state, began_at=self._clock())
        self._head()
        try:
            with self._view():
                yield
        finally:
            self._state, self._notice = State(), ""

    def expect(
        self,
        number: int,
        point: Mapping[str, str],
        *,
        predicted: MemoryEstimate | None,
        limit_bytes: int,
    ) -> None:
        """The study's next trial, with what the memory model makes of it."""
        self._begin(
            f"trial {number}",
            changes(point, self._state.baseline),
            predicted=predicted,
            limit_bytes=limit_bytes,
        )

    def contest(self, contest: Contest) -> None:
        """Finalists are measured again, in turns."""
        self._state = contest_began(self._state, contest)
        if self._state.budget is None:
            self._head()

    def expect_final(self, trial: Trial, round_number: int) -> None:
        """The contest's next run."""
        if (finals := self._state.finals) is None:
            return
        self._state = replace(self._state, finals=replace(finals, round=round_number))
        self._begin(
            "the baseline" if trial.number == finals.contest.baseline else f"trial {trial.number}",
            changes(trial.point, self._state.baseline),
            limit_bytes=trial.memory_limit_bytes,
        )

    @contextmanager
    def trial_in_hand(
        self, number: int, overrides: Sequence[str]
    ) -> Iterator[Callable[[Mapping[str, Any]], None] | None]:
        """Gives a function that is told the trial's progress, or None where nobody looks on."""
        if self._output.width is None:
            yield None
            return
        if self._state.in_hand is None:
            self._begin(f"trial {number}", overrides)

        def watch(progress: Mapping[str, Any]) -> None:
            self._state = progressed(self._state, progress)

        try:
            with self._view():
                yield watch
        finally:
            if self._state.budget is None:
                self._state = replace(self._state, in_hand=None)

    def row(self, trial: Trial, settings: Sequence[str]) -> None:
        """A finished trial outside of a study; ``settings`` are those that tell it from the others."""
        self._output.say(plain_row(trial, settings))

    def finished(self, trial: Trial) -> None:
        """A trial of the search has ended."""
        best_before = self._state.best
        self._state = ended(self._state, trial)
        is_best = self._state.best is not best_before and trial.number > 0
        settings = changes(trial.point, self._state.baseline)
        self._row(trial, settings, gain_of(self._state, trial), "bold" if is_best else "")

    def finished_final(self, trial: Trial, round_number: int) -> None:
        """A run of the contest has ended."""
        self._state = final_ended(self._state, trial, round_number)
        self._row(trial, (f"round {round_number}",), None, "")

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Something that takes some seconds."""
        return self._output.view(lambda width: [[(self._notice or what, "dim")]])

    def acknowledge(self, text: str) -> None:
        """May be called within a signal handler."""
        # Not in the state: the code that is interrupted may be about to replace that.
        self._notice = text
        self._output.acknowledge(text)

    def _view(self) -> AbstractContextManager[None]:
        def lines(width: int) -> list[Line]:
            return live_lines(replace(self._state, notice=self._notice), self._clock(), width)

        return self._output.view(lines)

    def _begin(self, title: str, settings: Sequence[str], **more: Any) -> None:
        in_hand = InHand(title=title, settings=tuple(settings), began_at=self._clock(), **more)
        self._state = replace(self._state, in_hand=in_hand)

    def _head(self) -> None:
        if self._output.width is not None:
            self._output.say("\n" + head(self._output.width), "dim")

    def _row(self, trial: Trial, settings: Sequence[str], gain: float | None, style: str) -> None:
        if (width := self._output.width) is None:
            self._output.say(plain_row(trial, settings, gain=gain))
            return
        for line in rows(trial, settings, gain=gain, width=width):
            self._output.say(line, style)


@functools.cache
def terminal() -> Terminal:
    """This process's: whoever runs a trial within a study shows it in the study's view."""
    return Terminal()


def result_width() -> int | None:
    """Of stdout; None where it is a file or a pipe."""
    return shutil.get_terminal_size().columns if is_watched(sys.stdout, os.environ) else None


def _output() -> Output:
    if not is_watched(sys.stderr, os.environ):
        return Plain()
    from sweeper.terminal.screen import Screen

    return Screen()


def _broken(text: str, width: int | None) -> list[str]:
    """Between words, where there is a width; what is indented is in columns, and stays."""
    lines = text.splitlines()
    if width is None:
        return lines
    return [w for line in lines for w in ([line] if line[:1] == " " else wrapped(line, width))]
