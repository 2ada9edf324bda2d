"""Throughput against memory: what is fastest, what is smallest, and what lies between."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from sweeper.core.measurement import Measurement
from sweeper.core.pareto import pareto_front
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.trial import Trial
from sweeper.report.figures.frame import (
    INK,
    MAX_VECTOR_MARKS,
    RED,
    Facts,
    Picture,
    axes_of,
    byte_unit,
)
from sweeper.report.figures.legend import (
    offload_handles,
    offload_marker,
    offload_of,
    offload_order,
    stage_color,
    stage_handles,
    stage_of,
)

# With more the whiskers would hide the points, and numbers each other.
_MAX_WHISKERS = 40
_MAX_NUMBERS = 40


def picture(facts: Facts) -> Picture | None:
    """None where nothing was measured."""
    measured = facts.measured
    if not measured:
        return None
    size, unit = byte_unit(max(m.peak_bytes for _, m in measured))
    canvas, axes = axes_of(height=4.4)
    on_front = _front(measured)
    _points(axes, measured, size)
    _step(axes, [m for t, m in measured if t.number in on_front], size)
    said = _limit(axes, measured, size)
    many = len(measured) > _MAX_NUMBERS
    _numbers(axes, [(t, m) for t, m in measured if not many or t.number in on_front], size)
    device = measured[0][1].peak_device_reserved_bytes is not None
    memory = "reserved device" if device else "resident host"
    axes.set(xlabel=f"peak {memory} memory of the fullest rank ({unit})", ylabel="tokens/s")
    axes.set_ylim(bottom=0)
    handles = [
        *stage_handles(stage_of(t) for t, _ in measured),
        *offload_handles(offload_of(t) for t, _ in measured),
        *axes.get_legend_handles_labels()[0],
    ]
    canvas.legend(handles=handles, loc="outside upper left", ncols=4)
    return Picture(
        name="throughput_memory",
        title="Throughput against peak memory",
        alt=_alt(measured, on_front) + said,
        canvas=canvas,
    )


def _front(measured: Sequence[tuple[Trial, Measurement]]) -> dict[int, tuple[float, float]]:
    """Trial number -> its point, of those that nothing beats in both, by rising memory."""
    numbers: dict[tuple[float, float], int] = {}
    for trial, m in measured:
        numbers.setdefault((float(m.peak_bytes), m.tokens_per_second), trial.number)
    return {numbers[point]: point for point in pareto_front(list(numbers))}


def _points(axes: Axes, measured: Sequence[tuple[Trial, Measurement]], size: int) -> None:
    offloads = offload_order(offload_of(t) for t, _ in measured)
    many = len(measured) > _MAX_WHISKERS
    groups: dict[tuple[int, tuple[str, str]], list[Measurement]] = {}
    for trial, m in measured:
        groups.setdefault((stage_of(trial), offload_of(trial)), []).append(m)
    for (stage, offload), members in sorted(groups.items()):
        axes.errorbar(
            [m.peak_bytes / size for m in members],
            [m.tokens_per_second for m in members],
            yerr=None if many else [m.tokens_per_second_mad for m in members],
            marker=offload_marker(offload, offloads),
            markersize=3.5 if many else 5,
            color=stage_color(stage),
            alpha=0.6 if many else 1.0,
            linestyle="none",
            elinewidth=1,
            capsize=2,
            rasterized=len(measured) > MAX_VECTOR_MARKS,
            zorder=3,
        )


def _step(axes: Axes, front: Sequence[Measurement], size: int) -> None:
    """From the bottom up to the first point, and on to the right of the last: also one point shows."""
    points = sorted((m.peak_bytes / size, m.tokens_per_second) for m in front)
    corners = [(points[0][0], 0.0), *points, (axes.get_xlim()[1], points[-1][1])]
    axes.step(
        *zip(*corners, strict=True),
        where="post",
        color=INK,
        linewidth=1,
        zorder=2,
        label="Pareto front",
    )


def _limit(axes: Axes, measured: Sequence[tuple[Trial, Measurement]], size: int) -> str:
    """Drawn where it does not squeeze the points together; told in any case."""
    limits = sorted({t.memory_limit_bytes for t, _ in measured if t.memory_limit_bytes})
    largest = max(m.peak_bytes for _, m in measured)
    near = [limit for limit in limits if limit < 2 * largest]
    for limit in near:
        label = "memory limit" if limit == near[0] else None
        axes.axvline(limit / size, color=RED, linestyle="--", linewidth=1.2, label=label)
    if not limits:
        return ""
    told = ", ".join(format_bytes(limit) for limit in limits)
    where = "" if near else ", far to the right of the picture"
    return f" The memory limit of a rank is {told}{where}."


def _numbers(axes: Axes, labelled: Sequence[tuple[Trial, Measurement]], size: int) -> None:
    """Of trials, where there is room for one: the fastest first."""
    taken: list[tuple[float, float]] = []
    for trial, m in sorted(labelled, key=lambda pair: -pair[1].tokens_per_second):
        point = (m.peak_bytes / size, m.tokens_per_second)
        x, y = axes.transAxes.inverted().transform(axes.transData.transform(point))
        if any(abs(x - other_x) < 0.03 and abs(y - other_y) < 0.045 for other_x, other_y in taken):
            continue
        taken.append((x, y))
        axes.annotate(
            str(trial.number),
            point,
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
            zorder=4,
        )


def _alt(
    measured: Sequence[tuple[Trial, Measurement]], on_front: dict[int, tuple[float, float]]
) -> str:
    rates = [m.tokens_per_second for _, m in measured]
    peaks = [m.peak_bytes for _, m in measured]
    shown = list(on_front.items())
    if len(shown) > 5:
        shown = [*shown[:2], *shown[-3:]]
    front = "; ".join(
        f"trial {number} with {format_rate(rate)} tokens/s at {format_bytes(peak)}"
        for number, (peak, rate) in shown
    )
    some = "" if len(shown) == len(on_front) else f", {len(shown)} of its {len(on_front)} trials"
    return (
        f"Throughput against peak memory of {len(measured)} trials: {format_rate(min(rates))} to "
        f"{format_rate(max(rates))} tokens/s at {format_bytes(min(peaks))} to "
        f"{format_bytes(max(peaks))} of the fullest rank. The Pareto front{some}: {front}."
    )
