"""The one door to rich: lines that scroll, and below them a view that is drawn again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from sweeper.terminal.plain import write_now
from sweeper.terminal.words import Line

# The cores are the ranks': drawing takes a few milliseconds of one.
DRAWINGS_PER_SECOND = 2


class Screen:
    """A terminal with a person before it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._is_shown = False

    @property
    def width(self) -> int:
        return self._console.width

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    @contextmanager
    def view(self, lines: Callable[[int], list[Line]]) -> Iterator[None]:
        """Shows what ``lines`` gives for a width, until it is left; within another view it is that one."""
        if self._is_shown:
            yield
            return
        self._is_shown = True
        try:
            with Live(
                _View(lines),
                console=self._console,
                refresh_per_second=DRAWINGS_PER_SECOND,
                transient=True,
                vertical_overflow="crop",
            ):
                yield
        finally:
            self._is_shown = False

    def acknowledge(self, text: str) -> None:
        if not self._is_shown:  # the view has it in half a second
            write_now(text)


class _View:
    def __init__(self, lines: Callable[[int], list[Line]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines(options.max_width):
            yield Text.assemble(*line, no_wrap=True, overflow="ellipsis")
