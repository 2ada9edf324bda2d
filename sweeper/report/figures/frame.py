"""What all pictures share: their look, and how they become files.

A PNG is opaque: dark ink on white, for a paper and for any page. An SVG has no background and takes
the colour of its ink from where it stands: from the page that it is part of, else from the reader's
light or dark scheme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

from sweeper.core.equivalence import LossDifference, loss_differences
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import measurement_of
from sweeper.core.prediction import Prediction
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial
from sweeper.report.figure import Figure

INK = "#24292f"
INK_IN_THE_DARK = "#d7dde4"
MUTED = "#7d8590"  # as far from white as from a dark page
# Okabe and Ito's palette: told apart with any colour vision. Its blue is lighter here, for dark pages.
BLUE, ORANGE, GREEN, RED = "#1B7FC4", "#E69F00", "#009E73", "#D55E00"
# As wide as a page's text; and as can be read on a phone, two side by side on a desk.
PAGE_INCHES, HALF_INCHES = 7.0, 4.8
# More marks than this in one picture are drawn as pixels, in an SVG too.
MAX_VECTOR_MARKS = 400
_PIXELS_IN_SVG = 120  # of an inch: half of what they would weigh in the PNG

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": MUTED,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "path.simplify": True,
    "savefig.dpi": 180,
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and edited
    "svg.hashsalt": "sweeper",
    "text.color": INK,
    "text.parse_math": False,  # a name of the user's may have dollars in it
    "xtick.color": INK,
    "ytick.color": INK,
}

THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.10g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture in memory; ``name`` is that of its files."""

    name: str
    title: str
    alt: str
    canvas: Canvas


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What there is to draw; ``explained``: option -> its share in how throughputs differ."""

    how: Standing
    explained: Mapping[str, float]
    predictions: Mapping[int, Prediction]

    @cached_property
    def measured(self) -> tuple[tuple[Trial, Measurement], ...]:
        """Those that were stopped early too, by what their few steps say."""
        return tuple((t, m) for t in self.how.trials if (m := measurement_of(t.outcome)))

    @cached_property
    def differences(self) -> Mapping[int, LossDifference]:
        return loss_differences(self.how.trials)

    def trains_differently(self, trial: Trial) -> bool:
        difference = self.differences.get(trial.number)
        return difference is not None and difference.trains_differently


def axes_of(width: float = PAGE_INCHES, height: float = 4.0) -> tuple[Canvas, Axes]:
    """In inches."""
    canvas = Canvas(figsize=(width, height))
    return canvas, canvas.add_subplot()


def rates_from_zero(axis_of: Axes) -> None:
    """An axis of tokens/s that begins at nothing, so that twice as high is twice as fast."""
    axis_of.set_ylim(bottom=0)
    axis_of.yaxis.set_major_formatter(THOUSANDS)
    axis_of.set_ylabel("tokens/s")


def byte_unit(largest_bytes: float) -> tuple[int, str]:
    """What an axis up to so many bytes is divided by, and called."""
    return (2**30, "GiB") if largest_bytes >= 2**30 else (2**20, "MiB")


def save(picture: Picture, folder: Path) -> Figure:
    """The same facts give the same bytes."""
    FigureCanvasAgg(picture.canvas)
    png, svg = folder / f"{picture.name}.png", folder / f"{picture.name}.svg"
    picture.canvas.savefig(png, metadata={"Software": None}, facecolor="white")
    picture.canvas.set_layout_engine("none")  # it stays as it was laid out
    text = io.StringIO()
    unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    picture.canvas.savefig(
        text, format="svg", metadata=unsaid, transparent=True, dpi=_PIXELS_IN_SVG
    )
    svg.write_text(_adapted(text.getvalue(), picture), encoding="utf-8", errors="backslashreplace")
    return Figure(title=picture.title, alt=picture.alt, png=png, svg=svg)


def _adapted(svg: str, picture: Picture) -> str:
    """With ink that follows its surroundings, names that are its own in a page, and words for who cannot see."""
    svg = svg[svg.index("<svg ") :].replace(INK, "currentColor")
    svg = re.sub(r'((?<= )id="|xlink:href="#|url\(#)', rf"\1{picture.name}-", svg)
    head = f'<svg id="{picture.name}" role="img" aria-label="{escape(picture.alt)}" color="{INK}" '
    style = (
        "<style>@media (prefers-color-scheme: dark) "
        f"{{:where(#{picture.name}) {{color: {INK_IN_THE_DARK}}}}}</style>"
    )
    svg = head + svg.removeprefix("<svg ")
    inside = svg.index(">") + 1
    return f"{svg[:inside]}\n<title>{escape(picture.title)}</title>{style}{svg[inside:]}"
