"""Tables as HTML, each in the way that gets it onto a phone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.report.html_text import breakable_anywhere, escaped, inline
from sweeper.report.page.blocks import Bars, Cell, Table, plain

# A table of more rows than this scrolls by itself.
_LONG = 30
# On a phone a table of so few columns fits, its words wrapped.
_FITS = 4
# The cells of one of more columns, or with a longer one among them, stand one below the other there.
_PROSE = 40
# One of more columns than this scrolls sideways, a line for each row.
_WIDE = 8


def table_of(table: Table) -> str:
    """With a class for how it gets onto a phone."""
    kind = _kind(table)
    # What a row is known by stays in sight where the others scroll.
    key = next((n for n in range(len(table.head)) if n not in table.numeric), 0)
    classes = [
        " ".join(
            word
            for word, holds in (
                ("number", n in table.numeric),
                ("key", kind == "wide" and n == key),
            )
            if holds
        )
        for n in range(len(table.head))
    ]
    head = "".join(_head(name, classes[n]) for n, name in enumerate(table.head))
    rows = "\n".join(
        _row(row, table.head, classes, n in table.marked) for n, row in enumerate(table.rows)
    )
    long = " long" if len(table.rows) > _LONG else ""
    caption = escaped(table.caption)
    return (
        f'<div class="scroll {kind}{long}" role="region" aria-label="{caption}" tabindex="0">'
        f"<table><caption><span>{caption}</span></caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _kind(table: Table) -> str:
    """How it gets onto a phone: by wrapping, row below row, or by scrolling."""
    if len(table.head) > _WIDE:
        return "wide"
    if not any(len(plain(cell)) > _PROSE for row in table.rows for cell in row[1:]):
        return "stacked" if len(table.head) > _FITS else "narrow"
    return "stacked prose" if table.prose else "stacked"


def _row(row: Sequence[Cell], head: Sequence[str], classes: Sequence[str], marked: bool) -> str:
    cells = "".join(
        f'<td data-label="{escaped(head[n])}"{_class(classes[n])}>{inline(cell)}</td>'
        for n, cell in enumerate(row)
    )
    return f"<tr{_class('marked' if marked else '')}>{cells}</tr>"


def _head(name: str, classes: str) -> str:
    if not name:
        return "<td></td>"
    return f'<th scope="col"{_class(classes)}>{breakable_anywhere(escaped(name))}</th>'


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def bars_of(block: Bars) -> Iterator[str]:
    """Widths are of the longest row, so that the two can be compared."""
    longest = max((sum(seconds) for _, seconds in block.rows), default=0.0) or 1.0
    lines = []
    for name, seconds in block.rows:
        parts = "".join(
            f'<i class="part{n}" style="width:{100 * s / longest:.2f}%"></i>'
            for n, s in enumerate(seconds)
        )
        lines.append(f'<div class="line"><span>{escaped(name)}</span><div>{parts}</div></div>')
    yield f'<div class="bars" aria-hidden="true">{"".join(lines)}</div>'
    # A column for each bar, of which there are fewer than parts.
    rows = [
        (part, *(f"{seconds[n]:.3g}" for _, seconds in block.rows))
        for n, part in enumerate(block.parts)
    ]
    rows.append(("together", *(f"{sum(seconds):.3g}" for _, seconds in block.rows)))
    head = ("part", *(name for name, _ in block.rows))
    table = table_of(
        Table(caption=block.caption, head=head, rows=rows, numeric=frozenset(range(1, len(head))))
    )
    for n, part in enumerate(block.parts):  # the first column is the key to the colours
        table = table.replace(f">{part}</td>", f'><i class="part{n}"></i>{part}</td>', 1)
    yield table
