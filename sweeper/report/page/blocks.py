"""What a page is made of, whatever shows it: text with code and links in it, and the blocks that hold text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sweeper.report.figure import Figure


@dataclass(frozen=True, slots=True)
class Code:
    """As it is typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """``href`` is relative to the report's folder, or ``#`` and a place in the page."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Strong:
    """What a hurried reader must not miss."""

    text: str


Piece: TypeAlias = str | Code | Link | Strong
Text: TypeAlias = tuple[Piece, ...]
Cell: TypeAlias = Text | str
Tone: TypeAlias = Literal["good", "neutral", "caution", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Some sentences."""

    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Subheading:
    """Begins a part of a section."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list without an order."""

    items: Sequence[Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``numeric`` are the columns that are set flush right; ``marked`` the rows that matter most.

    ``prose``: the last column is sentences, which are understood without its name.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    prose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFact:
    """One number that answers a question, with what it means or how sure it is."""

    label: str
    value: str
    note: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """The few numbers that most readers came for."""

    facts: Sequence[KeyFact]


@dataclass(frozen=True, slots=True, kw_only=True)
class Callout:
    """The sentence that sums a page up, or warns."""

    tone: Tone
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Copyable:
    """Something to be copied as it stands."""

    label: str
    text: str
    language: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Of each row the parts that it consists of, in seconds."""

    caption: str
    parts: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure with its title under it."""

    figure: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """The trials as data, for a reader to sort and filter where that is possible."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What only some readers want."""

    summary: str
    blocks: Sequence[Block]


Block: TypeAlias = (
    Paragraph
    | Subheading
    | Bullets
    | Table
    | KeyFacts
    | Callout
    | Copyable
    | Bars
    | Picture
    | Explorer
    | Folded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """``name`` is its place in the page: ``#why``."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All of a report."""

    title: str
    subtitle: Text
    sections: Sequence[Section] = field(default=())


def say(template: str, *values: Piece | Text) -> Text:
    """Our own words: `` `code` `` in them is code, each ``{}`` takes a value, which is never read for marks.

    What a user wrote comes in as a value.
    """
    rest = iter(values)
    pieces: list[Piece] = []
    for index, part in enumerate(template.split("`")):
        if index % 2:
            pieces.append(Code(part))
            continue
        first, *others = part.split("{}")
        pieces.append(first)
        for other in others:
            value = next(rest)
            pieces.extend(value if isinstance(value, tuple) else (value,))
            pieces.append(other)
    assert next(rest, None) is None, template
    return tuple(piece for piece in pieces if piece != "")


def marked(text: str) -> Text:
    """A sentence that was put together elsewhere, with `` `code` `` in it."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a mark without its pair stands for itself
        return (text,)
    pieces = (Code(part) if i % 2 else part for i, part in enumerate(parts))
    return tuple(piece for piece in pieces if piece not in ("", Code("")))


def listed(values: Sequence[Piece | Text], *, separator: str = ", ") -> Text:
    """One after the other."""
    pieces: list[Piece] = []
    for index, value in enumerate(values):
        if index:
            pieces.append(separator)
        pieces.extend(value if isinstance(value, tuple) else (value,))
    return tuple(pieces)


def plain(cell: Cell) -> str:
    """The words alone."""
    if isinstance(cell, str):
        return cell
    return "".join(piece if isinstance(piece, str) else piece.text for piece in cell)
