"""Words as HTML: what a user wrote stays text."""

from __future__ import annotations

import re
from html import escape
from typing import assert_never
from urllib.parse import quote

from sweeper.report.page.blocks import Cell, Code, Link, Piece, Strong

# So many letters in a row are no word, and are broken into such parts.
_NO_WORD, _PART = re.compile(r"[^\W_]{24,}"), re.compile(r"[^\W_]{12}")


def escaped(text: str) -> str:
    """The only way for words into the page."""
    return escape(text, quote=True)


def inline(cell: Cell) -> str:
    """Words with code and links in them."""
    return "".join(map(_piece, (cell,) if isinstance(cell, str) else cell))


def _piece(piece: Piece) -> str:
    match piece:
        case str():
            return escaped(piece)
        case Code():
            return f"<code>{breakable(escaped(piece.text))}</code>"
        case Link():
            return f'<a href="{escaped(quote(piece.href, safe="/#"))}">{escaped(piece.text)}</a>'
        case Strong():
            return f"<strong>{escaped(piece.text)}</strong>"
        case _:
            assert_never(piece)


def breakable(text: str) -> str:
    """Escaped text in which a long name may go on in a new line behind its dots, strokes and slashes."""
    return re.sub(r"(?<=\w)([._/=]+)(?=\w)", r"\1<wbr>", text)


def breakable_anywhere(text: str) -> str:
    """The same, for where a column is as wide as its longest word: no name is too long for one."""
    return _NO_WORD.sub(lambda name: _PART.sub(r"\g<0><wbr>", name[0]), breakable(text))
