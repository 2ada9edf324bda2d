"""Words as HTML: what a user wrote stays text."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

from sweeper.core.exhaustive import assert_never
from sweeper.core.visible import reads_from_the_right, visible
from sweeper.report.page.blocks import Cell, Code, Link, Piece, Strong

# So many letters in a row are no name, and are broken into such parts.
_NO_NAME, _HALF_NAME = re.compile(r"[^\W_]{24,}"), re.compile(r"[^\W_]{12}")
# So many signs without a place to break are no word; one that is escaped counts as one.
_SIGN = r"(?:&#?\w+;|[^\s&<>])"
_ENDLESS, _LINE = re.compile(rf"{_SIGN}{{150,}}"), re.compile(rf"{_SIGN}{{40}}")


def link(href: str) -> str:
    """With the bytes of a name that is not UTF-8."""
    return quote(href, safe="/#", errors="surrogateescape")


def escaped(text: str) -> str:
    """The only way for words into the page."""
    return escape(visible(text), quote=True)


def _isolated(text: str, shown: str) -> str:
    """What is read from the right turns nothing around that stands beside it."""
    return f"<bdi>{shown}</bdi>" if reads_from_the_right(text) or visible(text) != text else shown


def inline(cell: Cell) -> str:
    """Words with code and links in them."""
    return "".join(map(_piece, (cell,) if isinstance(cell, str) else cell))


def _piece(piece: Piece) -> str:
    match piece:
        case str():
            return _isolated(piece, _broken(escaped(piece)))
        case Code():
            shown = _broken(breakable(escaped(piece.text)))
            return _isolated(piece.text, f"<code>{shown}</code>")
        case Link():
            return f'<a href="{escaped(link(piece.href))}">{escaped(piece.text)}</a>'
        case Strong():
            return f"<strong>{escaped(piece.text)}</strong>"
        case _:
            assert_never(piece)


def breakable(text: str) -> str:
    """Escaped text in which a long name may go on in a new line behind its dots, strokes and slashes."""
    return re.sub(r"(?<=\w)([._/=]+)(?=\w)", r"\1<wbr>", text)


def breakable_anywhere(text: str) -> str:
    """The same, for where a column is as wide as its longest word: no name is too long for one."""
    return _NO_NAME.sub(lambda name: _HALF_NAME.sub(r"\g<0><wbr>", name[0]), breakable(text))


def _broken(text: str) -> str:
    """Escaped text in which no word is longer than a line, whatever it is made of."""
    return _ENDLESS.sub(lambda word: _LINE.sub(r"\g<0><wbr>", word[0]), text)
