"""How a trial's ZeRO stage, offload and ending look, and are called, in every picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from matplotlib.artist import Artist
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from sweeper.core.trial import Trial
from sweeper.report.figures.frame import BLUE, GREEN, INK, MUTED, ORANGE, PAGE_INCHES, RED

Offload: TypeAlias = tuple[str, str]

_COLORS = {0: BLUE, 1: ORANGE, 2: GREEN, 3: RED}
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "h")
_PLACES = {"cpu": "CPU", "nvme": "NVMe"}


def stage_of(trial: Trial) -> int:
    """ZeRO's, 0 to 3."""
    return int(trial.settings["zero.stage"])


def offload_of(trial: Trial) -> Offload:
    """Where the optimizer states live, and where the parameters."""
    return str(trial.settings["offload.optimizer"]), str(trial.settings["offload.params"])


def stage_color(stage: int) -> str:
    """The same in every picture."""
    return _COLORS.get(stage, MUTED)


def offload_name(offload: Offload) -> str:
    """``"optimizer on CPU"``"""
    optimizer, params = offload
    if optimizer == params != "none":
        return f"optimizer and parameters on {_PLACES.get(params, params)}"
    parts = [
        f"{what} on {_PLACES.get(where, where)}"
        for what, where in (("optimizer", optimizer), ("parameters", params))
        if where != "none"
    ]
    return ", ".join(parts) or "no offload"


def offload_order(offloads: Iterable[Offload]) -> list[Offload]:
    """Each once; what stays on the device first."""
    rank = {"none": 0, "cpu": 1, "nvme": 2}
    return sorted(set(offloads), key=lambda o: (rank.get(o[1], 3), rank.get(o[0], 3)))


def offload_marker(offload: Offload, among: Iterable[Offload]) -> str:
    """One for each of those that a picture shows."""
    return _MARKERS[offload_order(among).index(offload) % len(_MARKERS)]


def mark(label: str, color: str = INK, marker: str = "o", **look: Any) -> Line2D:
    """A legend's entry without a line."""
    return Line2D([], [], marker=marker, linestyle="none", color=color, label=label, **look)


def stage_marks(stages: Iterable[int]) -> list[Line2D]:
    """A legend's entries, one for each stage."""
    return [mark(f"ZeRO {s}", stage_color(s)) for s in sorted(set(stages))]


def offload_marks(offloads: Iterable[Offload]) -> list[Line2D]:
    """A legend's entries, one for each kind of offload."""
    ordered = offload_order(offloads)
    return [mark(offload_name(o), marker=offload_marker(o, ordered)) for o in ordered]


# So many letters, and a mark with its gap for each entry, go into one row of a page's width.
_LETTERS_A_ROW = 104
_LETTERS_OF_A_MARK = 6
STOPPED = mark("stopped early: an estimate", fillstyle="none")
DIFFERS = mark("trains differently: cannot win", marker="x", markersize=9)


def legend_above(canvas: Canvas, rows: Sequence[Sequence[Artist]]) -> None:
    """Outside of the axes, where it covers nothing, row by row.

    matplotlib fills a legend column by column: short rows are filled up with nothing.
    """
    letters = int(_LETTERS_A_ROW * canvas.get_figwidth() / PAGE_INCHES)
    rows = _broken([row for row in rows if row], letters)
    columns = max(map(len, rows), default=0)
    if columns:
        blank = Line2D([], [], linestyle="none", label=" ")
        filled = [[*row, *[blank] * (columns - len(row))] for row in rows]
        canvas.legend(
            handles=[row[i] for i in range(columns) for row in filled],
            loc="outside upper left",
            ncols=columns,
            columnspacing=1.4,
            handletextpad=0.4,
        )


def _broken(rows: Sequence[Sequence[Artist]], letters: int) -> list[list[Artist]]:
    """Into as few rows as are not wider than the picture, all in the same columns."""
    broken: list[list[Artist]] = []
    for columns in range(max(map(len, rows), default=0), 0, -1):
        broken = [list(row[i : i + columns]) for row in rows for i in range(0, len(row), columns)]
        widths = [max(_letters(row[i]) for row in broken if i < len(row)) for i in range(columns)]
        if sum(widths) <= letters:
            break
    return broken


def _letters(entry: Artist) -> int:
    return len(str(entry.get_label())) + _LETTERS_OF_A_MARK
