"""A page as one HTML file that needs no other: style, script, pictures and data are in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import quote

from sweeper.report.figure import Figure
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
    Section,
    Strong,
    Subheading,
    Table,
    plain,
)

_ASSETS = Path(__file__).with_name("assets")
_SCRIPTS = ("copy.js", "trials.js", "scatter.js", "parallel.js", "table.js", "explorer.js")
# A table of more rows than this scrolls by itself.
_LONG = 30
# On a phone the rows of a table with sentences in its last column stand one below the other.
_PROSE = 40
# A table of more columns than this scrolls sideways, a line for each row.
_WIDE = 8


def to_html(page: Page) -> str:
    """The same page gives the same bytes."""
    scripts = "\n".join(_asset(name) for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{scripts}\n}})();'
    sections = "\n".join(_section(section) for section in page.sections)
    links = "".join(
        f'<li><a href="#{_text(s.name)}">{_text(s.title)}</a></li>' for s in page.sections
    )
    return _asset("page.html").format(
        policy=_policy(script),
        title=_text(page.title),
        subtitle=_inline(page.subtitle),
        links=links,
        sections=sections,
        style=_asset("report.css"),
        script=script,
    )


def in_script(document: Any) -> str:
    """JSON that cannot end the script element that it stands in, nor a line of one."""
    text = json.dumps(
        document, allow_nan=False, separators=(",", ":")
    )  # all beyond ASCII is escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(script: str) -> str:
    """Nothing is fetched, and no script runs but ours."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8").rstrip("\n")


def _text(text: str) -> str:
    """The only way for words into the page."""
    return escape(text, quote=True)


def _section(section: Section) -> str:
    name = _text(section.name)
    inside = "\n".join(part for block in section.blocks for part in _block(block))
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{_text(section.title)}</h2>\n{inside}\n</section>'
    )


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            yield f"<p>{_inline(block.text)}</p>"
        case Callout():
            yield f'<p class="callout {block.tone}">{_inline(block.text)}</p>'
        case Subheading():
            yield f"<h3>{_text(block.text)}</h3>"
        case Bullets():
            yield f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in block.items)}</ul>"
        case Table():
            yield _table(block)
        case KeyFacts():
            yield f'<dl class="facts">{"".join(map(_fact, block.facts))}</dl>'
        case Copyable():
            yield _copyable(block)
        case Bars():
            yield from _bars(block)
        case Picture():
            yield _picture(block.figure)
        case Explorer():
            yield _asset("explorer.html").format(data=in_script(block.data))
        case Folded():
            inside = "\n".join(part for inner in block.blocks for part in _block(inner))
            yield f"<details><summary>{_text(block.summary)}</summary>\n{inside}\n</details>"
        case _:
            assert_never(block)


def _inline(cell: Cell) -> str:
    return "".join(map(_piece, (cell,) if isinstance(cell, str) else cell))


def _piece(piece: Piece) -> str:
    match piece:
        case str():
            return _text(piece)
        case Code():
            return f"<code>{_text(piece.text)}</code>"
        case Link():
            return f'<a href="{_text(quote(piece.href, safe="/#"))}">{_text(piece.text)}</a>'
        case Strong():
            return f"<strong>{_text(piece.text)}</strong>"
        case _:
            assert_never(piece)


def _fact(fact: Any) -> str:
    return (
        f'<div class="{fact.tone}"><dt>{_text(fact.label)}</dt>'
        f'<dd class="value">{_text(fact.value)}</dd><dd>{_text(fact.note)}</dd></div>'
    )


def _table(table: Table) -> str:
    head = "".join(
        _cell("th", name, n in table.numeric, ' scope="col"') for n, name in enumerate(table.head)
    )
    rows = "\n".join(_row(row, table, n in table.marked) for n, row in enumerate(table.rows))
    body = (
        f"<table><caption>{_text(table.caption)}</caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"
    )
    long = " long" if len(table.rows) > _LONG else ""
    if len(table.head) > _WIDE:
        long += " wide"
    elif any(len(plain(row[-1])) > _PROSE for row in table.rows):
        long += " prose"
    return (
        f'<div class="scroll{long}" role="region" aria-label="{_text(table.caption)}" tabindex="0">'
        f"{body}</div>"
    )


def _row(row: Sequence[Cell], table: Table, marked: bool) -> str:
    cells = "".join(
        _cell("td", cell, n in table.numeric, f' data-label="{_text(table.head[n])}"')
        for n, cell in enumerate(row)
    )
    kind = ' class="marked"' if marked else ""
    return f"<tr{kind}>{cells}</tr>"


def _cell(tag: str, cell: Cell, numeric: bool, more: str) -> str:
    number = ' class="number"' if numeric else ""
    if tag == "th" and not plain(cell):
        return "<td></td>"
    return f"<{tag}{more}{number}>{_inline(cell)}</{tag}>"


def _copyable(block: Copyable) -> str:
    label = _text(block.label)
    text = f'<pre tabindex="0" role="region" aria-label="{label}"><code>{_text(block.text)}</code></pre>'
    button = f'<button type="button" class="copy" hidden aria-label="Copy: {label}">Copy</button>'
    if block.folded:
        text = f"<details><summary>Show</summary>{text}</details>"
    return f'<div class="copyable"><div class="bar"><span>{label}</span>{button}</div>{text}</div>'


def _bars(block: Bars) -> Iterator[str]:
    """Widths are of the longest row, so that the two can be compared."""
    longest = max((sum(seconds) for _, seconds in block.rows), default=0.0) or 1.0
    lines = []
    for name, seconds in block.rows:
        parts = "".join(
            f'<i class="part{n}" style="width:{100 * s / longest:.2f}%"></i>'
            for n, s in enumerate(seconds)
        )
        lines.append(f'<div class="line"><span>{_text(name)}</span><div>{parts}</div></div>')
    yield f'<div class="bars" aria-hidden="true">{"".join(lines)}</div>'
    head = ("", *block.parts, "together")
    rows = [(name, *(f"{s:.3g}" for s in (*seconds, sum(seconds)))) for name, seconds in block.rows]
    table = _table(
        Table(caption=block.caption, head=head, rows=rows, numeric=frozenset(range(1, len(head))))
    )
    for n, part in enumerate(block.parts):  # the table's head is the key to the colours
        table = table.replace(f">{part}</th>", f'><i class="part{n}"></i>{part}</th>', 1)
    yield table


def _picture(figure: Figure) -> str:
    return (
        f'<figure><div class="picture" role="region" aria-label="{_text(figure.title)}" tabindex="0">'
        f"{_drawing(figure)}</div><figcaption>{_text(figure.title)}</figcaption></figure>"
    )


def _drawing(figure: Figure) -> str:
    """The SVG as a part of the page; it says itself, in words, what is to be seen."""
    return figure.svg.read_text(encoding="utf-8")
