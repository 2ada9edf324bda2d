"""Tables and cells in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown; a bar in one of them does not end it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def code(text: object) -> str:
    """As it is typed."""
    return f"`{text}`"


def sentence(text: str) -> str:
    """With a capital, and no full stop: cells have none."""
    plain = " ".join(text.split()).replace("``", "`").rstrip(".")
    return plain[:1].upper() + plain[1:]


def page(title: str, *parts: str) -> str:
    """A generated page, which says so to whoever opens it to change it."""
    note = "<!-- Made by python -m docs.generate: change the code, then type make docs. -->"
    return "\n\n".join([note, f"# {title}", *(part.strip("\n") for part in parts)]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
