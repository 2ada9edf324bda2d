"""A page as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeper.core.exhaustive import assert_never
from sweeper.core.visible import visible
from sweeper.report.html_text import link
from sweeper.report.page.blocks import (
    Bars,
    Block,
    Bullets,
    Callout,
    Cell,
    Code,
    Copyable,
    Explorer,
    Folded,
    KeyFacts,
    Link,
    Page,
    Paragraph,
    Picture,
    Piece,
    Strong,
    Subheading,
    Table,
)

# What Markdown, and the HTML in it, would read as more than text.
_MARKS = re.compile(r"[\\`*<\[\]|~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
_AT_THE_START = re.compile(r"^(#{1,6}(?=\s)|[-+>](?=\s)|\d+[.)](?=\s)|={3,}|-{3,})")


def to_markdown(page: Page, root: Path) -> str:
    """``root`` is the folder that links start from."""
    parts = [f"# {_escaped(page.title)}", _inline(page.subtitle)]
    for section in page.sections:
        parts.append(f"## {_escaped(section.title)}")
        for block in section.blocks:
            parts += _block(block, root)
    return "\n\n".join(parts) + "\n"


def _block(block: Block, root: Path) -> Iterator[str]:
    match block:
        case Paragraph():
            yield _inline(block.text)
        case Callout():
            yield f"**{_inline(block.text)}**"
        case Subheading():
            yield f"### {_escaped(block.text)}"
        case Bullets():
            yield "\n".join(f"* {_inline(item)}" for item in block.items)
        case Table():
            yield f"{_inline(block.caption)}:"
            yield _table(block.head, block.rows)
        case KeyFacts():
            facts = [(fact.label, (Strong(fact.value),), fact.note) for fact in block.facts]
            yield _table(("", "", ""), facts)
        case Copyable():
            yield f"{_inline(block.label)}:"
            yield _fenced(block.text, block.language)
        case Bars():
            yield f"{_inline(block.caption)}:"
            rows = [
                (name, *(f"{s:.3g}" for s in (*seconds, sum(seconds))))
                for name, seconds in block.rows
            ]
            yield _table(("", *block.parts, "together"), rows)
        case Picture():
            path = link(block.figure.png.relative_to(root).as_posix())
            yield f"![{_escaped(block.figure.alt)}]({path})"
            yield f"*{_escaped(block.figure.title)}*"
        case Explorer():
            yield "`report.html` has the trials as a table and pictures that sort, filter and mark each other."
        case Folded():
            for inner in block.blocks:
                yield from _block(inner, root)
        case _:
            assert_never(block)


def _inline(cell: Cell) -> str:
    text = "".join(map(_piece, (cell,) if isinstance(cell, str) else cell))
    text = " ".join(text.split())
    return _AT_THE_START.sub(r"\\\1", text)


def _piece(piece: Piece) -> str:
    match piece:
        case str():
            return _escaped(piece)
        case Code():
            return _code(piece.text)
        case Link():
            return f"[{_escaped(piece.text)}]({link(piece.href)})"
        case Strong():
            return f"**{_escaped(piece.text)}**"
        case _:
            assert_never(piece)


def _escaped(text: str) -> str:
    text = visible(" ".join(text.split()) if "\n" in text else text)
    return _MARKS.sub(lambda found: f"\\{found[0]}", text)


def _code(text: str) -> str:
    """Between more marks than it holds; a table reads ``|`` even there."""
    text = visible(" ".join(text.split())).replace("|", "\\|")
    marks = "`" * (_longest_run(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{marks}{space}{text}{space}{marks}"


def _fenced(text: str, language: str) -> str:
    text = visible(text)
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    def line(cells: Sequence[Cell]) -> str:
        return "| " + " | ".join(_inline(cell) for cell in cells) + " |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *(line(row) for row in rows)])
