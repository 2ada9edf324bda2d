"""Text for a terminal: without what it would obey, and as wide as it is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TypeAlias

ELLIPSIS = "…"

# A line as texts, each with how it is shown: "", "dim", "bold".
Span: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Span]


def printable(text: str) -> str:
    """What programs said and people wrote, with its lines, without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def fitted(text: str, width: int | None) -> str:
    """Cut, with an ellipsis, where it is too long; None is as wide as it takes."""
    if width is None or len(text) <= width:
        return text
    return text[: max(width - 1, 0)].rstrip() + ELLIPSIS


def wrapped(text: str, width: int | None, *, lines: int | None = None) -> list[str]:
    """Broken between words into lines of ``width``, the last one of ``lines`` cut with an ellipsis."""
    if width is None:
        return [" ".join(text.split())]
    found = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    if lines is not None and len(found) > lines:
        found = [*found[: lines - 1], " ".join(found[lines - 1 :])]
    return [fitted(line, width) for line in found] if lines is not None else found


def labelled(label: str, text: str, width: int | None, *, indent: int = 10) -> list[str]:
    """A label with its text beside it, hanging."""
    found = wrapped(text, None if width is None else width - indent - 2)
    heads = [label, *[""] * len(found)]
    return [f"  {head:<{indent}}{line}" for head, line in zip(heads, found, strict=False)]


def counted(number: int, one: str, many: str | None = None) -> str:
    """``"1 trial"``, ``"2 trials"``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """``"a, b and c"``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
