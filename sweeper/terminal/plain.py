"""Plain lines on stderr, for files, pipes and CI: no control character, nothing cut, nothing drawn."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from sweeper.terminal.words import Line

_CANNOT_DRAW = ("", "dumb", "unknown")


def is_watched(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a person sits before the stream, with a terminal that can draw."""
    in_ci = environment.get("CI", "").lower() not in ("", "0", "false")
    return stream.isatty() and environment.get("TERM", "") not in _CANNOT_DRAW and not in_ci


class Plain:
    """Nobody looks on."""

    width = None

    def say(self, text: str, style: str = "") -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def view(self, lines: Callable[[int], list[Line]]) -> Iterator[None]:
        yield

    def acknowledge(self, text: str) -> None:
        write_now(text)


def write_now(text: str) -> None:
    """Within a signal handler: past the buffers, which the interrupted code may be writing to."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())
