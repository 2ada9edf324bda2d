"""Throughput over the micro-batch, by ZeRO stage, for each kind of offload."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Stopped
from sweeper.core.quantities import format_rate
from sweeper.core.trial import Trial
from sweeper.report.figures.frame import (
    HALF_INCHES,
    MAX_VECTOR_MARKS,
    Facts,
    Picture,
    rates_from_zero,
)
from sweeper.report.figures.legend import (
    STOPPED,
    Offload,
    legend_above,
    offload_name,
    offload_of,
    offload_order,
    stage_color,
    stage_marks,
    stage_of,
)

_Measured: TypeAlias = Sequence[tuple[Trial, Measurement]]

_PANELS_A_ROW = 2


def picture(facts: Facts) -> Picture | None:
    """None where less than two trials were measured; who trains differently is the best of nothing."""
    measured = [(t, m) for t, m in facts.measured if not facts.trains_differently(t)]
    if len(measured) < 2:
        return None
    offloads = offload_order(offload_of(t) for t, _ in measured)
    columns = min(len(offloads), _PANELS_A_ROW)
    rows = -(-len(offloads) // columns)
    canvas = Canvas(figsize=(HALF_INCHES, 0.9 + (2.0 if columns > 1 else 2.8) * rows))
    panels = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(offloads) :]:
        panel.set_visible(False)
    sizes = sorted({_micro_size(t) for t, _ in measured})
    for axes, offload in zip(panels.flat, offloads, strict=False):
        axes.set_title(textwrap.fill(offload_name(offload), 24), loc="left")
        axes.set_xscale("log", base=2)
        _panel(axes, [(t, m) for t, m in measured if offload_of(t) == offload], len(measured))
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xlim(sizes[0] / 1.5, sizes[-1] * 1.5)
        axes.minorticks_off()
        axes.set_xlabel("micro-batch (samples)")
        axes.label_outer()
    for axes in panels[:, 0]:
        rates_from_zero(axes)
    stopped = any(isinstance(t.outcome, Stopped) for t, _ in measured)
    marks = stage_marks(stage_of(t) for t, _ in measured)
    legend_above(canvas, [[*marks, *([STOPPED] if stopped else [])]])
    return Picture(
        name="throughput_stage_micro_batch",
        title="Throughput over the micro-batch, by ZeRO stage and offload",
        alt=_alt(measured, offloads) + _left_out(len(facts.measured) - len(measured)),
        canvas=canvas,
    )


def _left_out(number: int) -> str:
    """In words, of those that train differently."""
    if not number:
        return ""
    trains = "trial that trains" if number == 1 else "trials that train"
    return f" Without {number} {trains} differently."


def _micro_size(trial: Trial) -> int:
    return int(trial.settings["batch.micro_size"])


def _panel(axes: Axes, measured: _Measured, num_all: int) -> None:
    """Points are trials, a line goes through the best of each micro-batch."""
    stages = sorted({stage_of(t) for t, _ in measured})
    for place, stage in enumerate(stages):
        # Equal points of two stages both show.
        aside = 2 ** (0.09 * (place - (len(stages) - 1) / 2))
        members = [(t, m) for t, m in measured if stage_of(t) == stage]
        best: dict[int, float] = {}
        for trial, m in members:
            size = _micro_size(trial)
            best[size] = max(best.get(size, 0.0), m.tokens_per_second)
        line = sorted((size * aside, rate) for size, rate in best.items())
        color = stage_color(stage)
        axes.plot(*zip(*line, strict=True), color=color, zorder=4)
        for stopped in (False, True):
            points = [
                (_micro_size(t) * aside, m.tokens_per_second)
                for t, m in members
                if isinstance(t.outcome, Stopped) is stopped
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    marker="o",
                    linestyle="none",
                    color=color,
                    markerfacecolor="none" if stopped else color,
                    markersize=5 if num_all <= 100 else 3,
                    alpha=1.0 if num_all <= 100 else 0.5,
                    rasterized=num_all > MAX_VECTOR_MARKS,
                    zorder=3,
                )


def _alt(measured: _Measured, offloads: Sequence[Offload]) -> str:
    """The best of each panel."""
    told = []
    for offload in offloads:
        among = [(m.tokens_per_second, t) for t, m in measured if offload_of(t) == offload]
        rate, trial = max(among, key=lambda pair: pair[0])
        told.append(
            f"{offload_name(offload)}: at most {format_rate(rate)} tokens/s, with ZeRO "
            f"{stage_of(trial)} and a micro-batch of {_micro_size(trial)} (trial {trial.number})"
        )
    return "Throughput over the micro-batch, a line for each ZeRO stage. " + "; ".join(told) + "."
