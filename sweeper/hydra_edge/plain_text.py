"""Paragraphs and numbers as plain text for a terminal of 80 columns."""

from __future__ import annotations

import re
import textwrap

WIDTH = 80  # columns
_LABEL = 10
_HARD_SPACE = "\0"  # no line is broken at it


def paragraph(text: str, *, first: str = "", further: str = "") -> str:
    """Lines that begin with ``first`` and ``further``; a number keeps its unit on its line."""
    filled = textwrap.fill(
        re.sub(r"([\dP=<>]) (?=GiB|MiB|%|[\d=<>])", rf"\1{_HARD_SPACE}", text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return filled.replace(_HARD_SPACE, " ")


def field(label: str, text: str) -> str:
    """A label in a column of its own."""
    return paragraph(text, first=f"{label:{_LABEL}}", further=" " * _LABEL)


def size(num_bytes: float) -> str:
    """Three digits: ``"21.3 GiB"``, ``"312 MiB"``."""
    scale, unit = _scale(num_bytes)
    return f"{_number(num_bytes / scale)} {unit}"


def size_with_interval(num_bytes: float, margin_bytes: float) -> str:
    """``"21.3 GiB (19.8 to 22.9)"``."""
    scale, _ = _scale(num_bytes)
    low, high = max(num_bytes - margin_bytes, 0), num_bytes + margin_bytes
    return f"{size(num_bytes)} ({_number(low / scale)} to {_number(high / scale)})"


def percent(probability: float) -> str:
    """Never all or nothing."""
    if probability > 0.99:
        return "> 99 %"
    return "< 1 %" if probability < 0.01 else f"{100 * probability:.0f} %"


def _scale(num_bytes: float) -> tuple[int, str]:
    return (2**30, "GiB") if num_bytes >= 2**30 else (2**20, "MiB")


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
