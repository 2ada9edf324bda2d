"""A page as one HTML file that needs no other: style, script, pictures and data are in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from sweeper.core.exhaustive import assert_never
from sweeper.core.visible import visible
from sweeper.report.figure import Figure
from sweeper.report.html_table import bars_of, table_of
from sweeper.report.html_text import escaped, inline
from sweeper.report.page.blocks import (
    Bars,
    Block,
    Bullets,
    Callout,
    Copyable,
    Explorer,
    Folded,
    KeyFacts,
    Page,
    Paragraph,
    Picture,
    Section,
    Subheading,
    Table,
)

_ASSETS = Path(__file__).with_name("assets")
_SCRIPTS = (
    "copy.js",
    "overflow.js",
    "trials.js",
    "colors.js",
    "key.js",
    "scatter.js",
    "parallel.js",
    "table.js",
    "explorer.js",
)
# So many points wide, a picture can be read on a phone without scrolling.
_PHONE_POINTS = 360.0


def to_html(page: Page) -> str:
    """The same page gives the same bytes."""
    scripts = "\n".join(_asset(name) for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{scripts}\n}})();'
    sections = "\n".join(_section(section) for section in page.sections)
    links = "".join(
        f'<li><a href="#{escaped(s.name)}">{escaped(s.title)}</a></li>' for s in page.sections
    )
    return _asset("page.html").format(
        policy=_policy(script),
        title=escaped(page.title),
        subtitle=inline(page.subtitle),
        links=links,
        sections=sections,
        style=_asset("report.css"),
        script=script,
    )


def in_script(document: Any) -> str:
    """JSON that cannot end the script element that it stands in, nor a line of one."""
    # all beyond ASCII is escaped
    text = json.dumps(_visible(document), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _visible(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _visible(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(each) for each in value]
    return visible(value) if isinstance(value, str) else value


def _policy(script: str) -> str:
    """Nothing is fetched, and no script runs but ours."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8").rstrip("\n")


def _section(section: Section) -> str:
    name = escaped(section.name)
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{escaped(section.title)}</h2>\n{_blocks(section.blocks)}\n</section>'
    )


def _blocks(blocks: Sequence[Block]) -> str:
    """Pictures that follow each other stand side by side where there is room."""
    parts: list[str] = []
    for are_pictures, group in groupby(blocks, lambda block: isinstance(block, Picture)):
        inside = "\n".join(part for block in group for part in _block(block))
        parts.append(f'<div class="pictures">\n{inside}\n</div>' if are_pictures else inside)
    return "\n".join(parts)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            yield f"<p>{inline(block.text)}</p>"
        case Callout():
            yield f'<p class="callout {block.tone}">{inline(block.text)}</p>'
        case Subheading():
            yield f"<h3>{escaped(block.text)}</h3>"
        case Bullets():
            yield f"<ul>{''.join(f'<li>{inline(item)}</li>' for item in block.items)}</ul>"
        case Table():
            yield table_of(block)
        case KeyFacts():
            yield f'<dl class="facts">{"".join(map(_fact, block.facts))}</dl>'
        case Copyable():
            yield _copyable(block)
        case Bars():
            yield from bars_of(block)
        case Picture():
            yield _picture(block.figure)
        case Explorer():
            yield _asset("explorer.html").format(data=in_script(block.data))
        case Folded():
            inside = _blocks(block.blocks)
            yield f"<details><summary>{escaped(block.summary)}</summary>\n{inside}\n</details>"
        case _:
            assert_never(block)


def _fact(fact: Any) -> str:
    return (
        f'<div class="{fact.tone}"><dt>{escaped(fact.label)}</dt>'
        f'<dd class="value">{escaped(fact.value)}</dd><dd>{escaped(fact.note)}</dd></div>'
    )


def _copyable(block: Copyable) -> str:
    label = escaped(block.label)
    text = f'<pre tabindex="0" role="region" aria-label="{label}"><code>{escaped(block.text)}</code></pre>'
    button = f'<button type="button" class="copy" hidden aria-label="Copy: {label}">Copy</button>'
    if block.folded:
        text = f"<details><summary>Show</summary>{text}</details>"
    return f'<div class="copyable"><div class="bar"><span>{label}</span>{button}</div>{text}</div>'


def _picture(figure: Figure) -> str:
    drawing = figure.svg.read_text(encoding="utf-8")  # it says itself, in words, what is to be seen
    points = re.search(r'<svg [^>]*?width="([\d.]+)pt"', drawing)
    wide = "" if points and float(points[1]) <= _PHONE_POINTS else " wide"
    title = escaped(figure.title)
    return (
        f'<figure class="still{wide}"><div class="picture" role="region" aria-label="{title}" '
        f'tabindex="0">{drawing}</div><figcaption>{title}</figcaption></figure>'
    )
