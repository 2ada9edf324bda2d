"""What others said, as one line that a terminal and a file take."""

from __future__ import annotations

LONGEST = 500


def one_line(text: str, *, longest: int = LONGEST) -> str:
    """The first line that says something, cut where it is long; "" of none.

    What no terminal shows, and what is no UTF-8, is escaped.
    """
    stripped = text.strip()
    first = stripped[: 4 * longest].splitlines()[0].rstrip() if stripped else ""
    shown = "".join(c if c.isprintable() else _escaped(c) for c in first)
    return shown if len(shown) <= longest else f"{shown[:longest]}..."


def _escaped(character: str) -> str:
    return " " if character == "\t" else ascii(character)[1:-1]
