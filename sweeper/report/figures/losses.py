"""Whether the trials train alike: their losses, and how far these are from the first trial's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from sweeper.core.measurement import Measurement
from sweeper.report.figures.frame import BLUE, HALF_INCHES, INK, MUTED, RED, Facts, Picture
from sweeper.report.figures.legend import legend_above

# More trials than this that train alike are drawn as the band that they fill.
_MAX_LINES = 30
_DASHES = ("-", "--", "-.", ":")
_MAX_NAMED = 4


def picture(facts: Facts) -> Picture | None:
    """None where nothing was measured."""
    if not facts.measured:
        return None
    reference, first = facts.measured[0]
    if not first.losses:
        return None
    alike: list[Sequence[float]] = []
    differing: dict[int, Sequence[float]] = {}
    for trial, m in facts.measured[1:]:
        if trial.number in facts.differences:
            if facts.trains_differently(trial):
                differing[trial.number] = m.losses
            else:
                alike.append(m.losses)
    canvas = Canvas(figsize=(HALF_INCHES, 4.8 if alike or differing else 3.2))
    panels = canvas.subplots(2, 1, sharex=True) if alike or differing else [canvas.subplots()]
    _losses(panels[0], first.losses, alike, differing)
    panels[0].set_ylabel("loss")
    if len(panels) > 1:
        _distances(panels[1], first.losses, alike, differing, _tolerances(facts))
        panels[1].set_ylabel(f"difference from trial {reference.number}")
    panels[-1].set_xlabel("optimizer step")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(canvas, [_legend(reference.number, bool(alike), differing)])
    return Picture(
        name="losses",
        title="Loss of each optimizer step, on the same batches",
        alt=_alt(facts, first, len(alike), differing),
        canvas=canvas,
    )


def _losses(
    axes: Axes,
    first: Sequence[float],
    alike: Sequence[Sequence[float]],
    differing: dict[int, Sequence[float]],
) -> None:
    if len(alike) > _MAX_LINES:
        _band(axes, alike)
    else:
        for losses in alike:
            axes.plot(_steps(losses), losses, color=BLUE, alpha=0.6, linewidth=1)
    axes.plot(_steps(first), first, color=INK)
    for losses, dash in zip(differing.values(), _dashes(len(differing)), strict=True):
        axes.plot(_steps(losses), losses, color=RED, linestyle=dash)


def _distances(
    axes: Axes,
    first: Sequence[float],
    alike: Sequence[Sequence[float]],
    differing: dict[int, Sequence[float]],
    tolerances: Sequence[float],
) -> None:
    """On a logarithmic axis: what arithmetic explains is many times smaller than what it does not."""
    near = [_distance(losses, first) for losses in alike]
    if len(near) > _MAX_LINES:
        _band(axes, near)
    else:
        for distance in near:
            axes.plot(_steps(distance), distance, color=BLUE, alpha=0.6, linewidth=1)
    for losses, dash in zip(differing.values(), _dashes(len(differing)), strict=True):
        distance = _distance(losses, first)
        axes.plot(_steps(distance), distance, color=RED, linestyle=dash)
    for tolerance in tolerances:
        axes.axhline(tolerance, color=MUTED, linestyle=(0, (4, 2)), linewidth=1)
        axes.annotate(
            f"tolerance {_percent(tolerance)}",
            (1, tolerance),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: _percent(value))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _band(axes: Axes, lines: Sequence[Sequence[float]]) -> None:
    """From the lowest to the highest of each step."""
    length = max(map(len, lines))
    columns = [[line[i] for line in lines if i < len(line)] for i in range(length)]
    low = [min((v for v in c if math.isfinite(v)), default=math.nan) for c in columns]
    high = [max((v for v in c if math.isfinite(v)), default=math.nan) for c in columns]
    axes.fill_between(_steps(low), low, high, color=BLUE, alpha=0.35, linewidth=0)


def _distance(losses: Sequence[float], first: Sequence[float]) -> list[float]:
    """Relative, step by step; nothing where they are equal: a logarithm has no place for it."""
    return [
        abs(ours - theirs) / max(abs(theirs), 1e-12) or math.nan
        for ours, theirs in zip(losses, first, strict=False)
    ]


def _percent(share: float) -> str:
    text = f"{100 * float(f'{share:.2g}'):.10f}".rstrip("0").rstrip(".")
    return f"{text}%"


def _steps(losses: Sequence[float]) -> range:
    return range(1, len(losses) + 1)


def _dashes(count: int) -> list[str]:
    return [_DASHES[i % len(_DASHES)] for i in range(count)]


def _tolerances(facts: Facts) -> list[float]:
    return sorted({difference.tolerance for difference in facts.differences.values()})


def _legend(reference: int, alike: bool, differing: dict[int, Sequence[float]]) -> list[Line2D]:
    entries = [Line2D([], [], color=INK, label=f"trial {reference}")]
    if alike:
        entries.append(Line2D([], [], color=BLUE, alpha=0.6, label="trials that train alike"))
    if len(differing) > _MAX_NAMED:
        entries.append(Line2D([], [], color=RED, label=f"{len(differing)} that train differently"))
        return entries
    named = zip(differing, _dashes(len(differing)), strict=True)
    return entries + [
        Line2D([], [], color=RED, linestyle=dash, label=f"trial {number}, trains differently")
        for number, dash in named
    ]


def _alt(
    facts: Facts, first: Measurement, num_alike: int, differing: dict[int, Sequence[float]]
) -> str:
    reference = facts.measured[0][0].number
    said = [
        f"The loss of trial {reference} goes from {first.losses[0]:.4g} to {first.losses[-1]:.4g} "
        f"in {len(first.losses)} optimizer steps."
    ]
    if num_alike:
        largest = max(d.largest for d in facts.differences.values() if not d.trains_differently)
        trials = "1 trial stays" if num_alike == 1 else f"{num_alike} trials stay"
        said.append(f"{trials} within {_percent(largest)} of it.")
    if differing:
        told = ", ".join(
            f"trial {n} by {_percent(facts.differences[n].largest)}"
            for n in [*differing][:_MAX_NAMED]
        )
        more = f" and {len(differing) - _MAX_NAMED} others" if len(differing) > _MAX_NAMED else ""
        said.append(f"More than its tolerance allows differ: {told}{more}.")
    return " ".join(said)
