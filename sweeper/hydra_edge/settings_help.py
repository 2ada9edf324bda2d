"""The settings as ``--help`` shows them: value, meaning, and what is allowed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

from sweeper.core.objective import Objective
from sweeper.core.settings import setting_names

WIDTH = 100  # columns
_MIN_TEXT = 40
_HARD_SPACE = "\0"  # no line is broken at it


def settings_help(value_of: Callable[[str], Any]) -> str:
    """A paragraph for each group; ``value_of`` gives a setting's value in the composed configuration."""
    groups = []
    names = {**setting_names(), **setting_names(Objective, "objective.")}
    for _, members in groupby(names.items(), key=lambda item: item[0].partition(".")[0]):
        rows = [
            (f"{name}={shown(value_of(name))}", _text(about, value_of(name)))
            for name, about in members
        ]
        groups.append("\n".join(_lines(rows)))
    return "\n\n".join(groups)


def _lines(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns; a value too long for the first one has a line of its own."""
    left = min(max(len(first) for first, _ in rows) + 2, WIDTH - _MIN_TEXT)
    lines = []
    for first, text in rows:
        wrapped = textwrap.wrap(text, WIDTH - left, break_on_hyphens=False)
        wrapped = [line.replace(_HARD_SPACE, " ") for line in wrapped]
        if len(first) + 2 > left:
            lines.append(first)
            first = ""
        lines.append(f"{first:{left}}{wrapped[0]}")
        lines += [" " * left + more for more in wrapped[1:]]
    return lines


def _text(about: Mapping[str, Any], value: Any) -> str:
    parts = [about["help"], _in_brackets(about)]
    # A setting of which null means something else says so in its own words.
    if value is None and "own" in about and "null" not in about["help"]:
        own = about["own"]
        parts.append(
            "null is DeepSpeed's own, which depends on the rest"
            if own is None
            else f"null is DeepSpeed's own, {shown(own)}"
        )
    return "; ".join(filter(None, parts))


def _in_brackets(about: Mapping[str, Any]) -> str:
    words = allowed(about)
    return f"[{words}]".replace(" ", _HARD_SPACE) if words else ""


def allowed(about: Mapping[str, Any]) -> str:
    """Which values a setting may have, in words; empty where any of its type."""
    choices, minimum, maximum = (about.get(key) for key in ("choices", "minimum", "maximum"))
    if choices:
        return ", ".join(map(shown, choices))
    if about["type"] in (bool, bool | None):
        return "true, false"
    if minimum is not None and maximum is not None:
        return f"{minimum:g} to {maximum:g}"
    return f"at least {minimum:g}" if minimum is not None else ""


def shown(value: Any) -> str:
    """As it is typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 10_000:
        return f"{value:_}"
    if isinstance(value, str | int | float):
        return str(value)
    return f"[{','.join(map(str, value))}]"
