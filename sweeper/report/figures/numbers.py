"""Writes the numbers of trials beside their points, where there is room."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from sweeper.report.figures.frame import INK

_POINTS = 7.5  # of the font
_PLACES = ((4, 4, "left"), (-4, 4, "right"), (4, -10, "left"), (-4, -10, "right"))


def write_numbers(
    axes: Axes,
    labels: Sequence[tuple[str, float, float]],
    *,
    beside: Sequence[tuple[float, float]] = (),
    always: int = 0,
) -> None:
    """``labels`` are text, x and y, the most wanted first; the first ``always`` of them are never left out.

    They keep away from each other and from the points ``beside`` them.
    """
    canvas = axes.figure
    assert isinstance(canvas, Canvas)
    canvas.draw_without_rendering()  # now everything has its place
    scale = 72 / canvas.dpi
    inside = [scale * v for v in axes.bbox.extents]
    points = [tuple(scale * v for v in axes.transData.transform(p)) for p in beside]
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    for index, (text, x, y) in enumerate(labels):
        at = tuple(scale * v for v in axes.transData.transform((x, y)))
        boxes = [(place, _box(text, at, place)) for place in _PLACES]
        boxes = [b for b in boxes if b[1][0] > inside[0] and b[1][2] < inside[2]] or boxes
        free = [found for found in boxes if not any(_meet(found[1], other) for other in taken)]
        if not free and index >= always:
            continue
        place, box = (free or boxes)[0]
        taken.append(box)
        axes.annotate(
            text,
            (x, y),
            xytext=place[:2],
            textcoords="offset points",
            ha=place[2],
            fontsize=_POINTS,
            fontweight="bold" if index < always else "normal",
            color=INK,
            zorder=5,
        )


def _box(
    text: str, at: tuple[float, ...], place: tuple[int, int, str]
) -> tuple[float, float, float, float]:
    width = 0.65 * _POINTS * len(text)
    left = at[0] + place[0] - (width if place[2] == "right" else 0)
    low = at[1] + place[1]
    return left, low, left + width, low + _POINTS


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
