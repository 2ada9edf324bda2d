"""Throughput against memory: what is fastest, what is smallest, and what lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, Stopped
from sweeper.core.pareto import pareto_front
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.report.figures.frame import (
    INK,
    MAX_VECTOR_MARKS,
    RED,
    Facts,
    Picture,
    axes_of,
    byte_unit,
    rates_from_zero,
)
from sweeper.report.figures.legend import (
    DIFFERS,
    STOPPED,
    legend_above,
    offload_marker,
    offload_marks,
    offload_of,
    offload_order,
    stage_color,
    stage_marks,
    stage_of,
)
from sweeper.report.figures.numbers import write_numbers

# With more the whiskers would hide the points, and only the front, winner and baseline are numbered.
_FEW = 40


def picture(facts: Facts) -> Picture | None:
    """None where nothing was measured."""
    measured = facts.measured
    if not measured:
        return None
    size, unit = byte_unit(max(m.peak_bytes for _, m in measured))
    canvas, axes = axes_of(height=4.4)
    front = _front(facts)
    _points(axes, facts, size)
    _crossed(axes, facts, size)
    device = measured[0][1].peak_device_reserved_bytes is not None
    memory = "reserved device" if device else "resident host"
    axes.set_xlabel(f"peak {memory} memory of the fullest rank ({unit})")
    rates_from_zero(axes)
    lines = [_step(axes, list(front.values()), size)] if front else []
    limits = sorted({t.memory_limit_bytes for t, _ in measured if t.memory_limit_bytes})
    near = [limit for limit in limits if limit < 2 * max(m.peak_bytes for _, m in measured)]
    # Further away it would squeeze the points together.
    for limit in near:
        label = f"memory limit, {format_bytes(limit)}"
        lines.append(
            axes.axvline(limit / size, color=RED, linestyle="--", linewidth=1.2, label=label)
        )
    offloads = [offload_of(t) for t, _ in measured]
    legend_above(
        canvas,
        [
            stage_marks(stage_of(t) for t, _ in measured),
            offload_marks(offloads),
            [*_endings(facts), *lines],
        ],
    )
    _numbers(axes, facts, front, size)
    return Picture(
        name="throughput_memory",
        title="Throughput against peak memory",
        alt=_alt(facts, front) + _limits_in_words(limits, near),
        canvas=canvas,
    )


def _front(facts: Facts) -> dict[int, tuple[float, float]]:
    """Trial number -> its point, of those that nothing beats in both, by rising memory.

    Who trains differently cannot win; who was stopped early has an estimate from a few steps, by
    which nobody is beaten.
    """
    numbers: dict[tuple[float, float], int] = {}
    for trial, m in facts.measured:
        if isinstance(trial.outcome, Measured) and not facts.trains_differently(trial):
            numbers.setdefault((float(m.peak_bytes), m.tokens_per_second), trial.number)
    return {numbers[point]: point for point in pareto_front(list(numbers))}


def _endings(facts: Facts) -> list[Line2D]:
    """A legend's entries for what is no full measurement, or of another training."""
    stopped = any(isinstance(t.outcome, Stopped) for t, _ in facts.measured)
    differs = any(facts.trains_differently(t) for t, _ in facts.measured)
    return [*([STOPPED] if stopped else []), *([DIFFERS] if differs else [])]


def _crossed(axes: Axes, facts: Facts, size: int) -> None:
    """A cross over who trains differently."""
    points = [
        (m.peak_bytes / size, m.tokens_per_second)
        for t, m in facts.measured
        if facts.trains_differently(t)
    ]
    if points:
        axes.plot(*zip(*points, strict=True), "x", color=INK, markersize=9, zorder=4)


def _points(axes: Axes, facts: Facts, size: int) -> None:
    """The colour is the stage's, the form the offload's; hollow is an estimate."""
    measured = facts.measured
    offloads = offload_order(offload_of(t) for t, _ in measured)
    few = len(measured) <= _FEW
    groups: dict[tuple[int, tuple[str, str], bool], list[Measurement]] = {}
    for trial, m in measured:
        kind = (stage_of(trial), offload_of(trial), isinstance(trial.outcome, Stopped))
        groups.setdefault(kind, []).append(m)
    for (stage, offload, stopped), members in sorted(groups.items()):
        axes.errorbar(
            [m.peak_bytes / size for m in members],
            [m.tokens_per_second for m in members],
            yerr=[m.tokens_per_second_mad for m in members] if few else None,
            marker=offload_marker(offload, offloads),
            markersize=5.5 if few else 3.8,
            markerfacecolor="none" if stopped else stage_color(stage),
            color=stage_color(stage),
            alpha=1.0 if few else 0.65,
            linestyle="none",
            elinewidth=1,
            rasterized=len(measured) > MAX_VECTOR_MARKS,
            zorder=3,
        )


def _step(axes: Axes, front: Sequence[tuple[float, float]], size: int) -> Line2D:
    """From the bottom up to the first point, and on to the right of the last: also one point shows."""
    points = [(peak / size, rate) for peak, rate in front]
    corners = [(points[0][0], 0.0), *points, (axes.get_xlim()[1], points[-1][1])]
    (line,) = axes.step(
        *zip(*corners, strict=True),
        where="post",
        color=INK,
        linewidth=1,
        zorder=2,
        label="Pareto front of full measurements",
    )
    return line


def _numbers(axes: Axes, facts: Facts, front: Mapping[int, tuple[float, float]], size: int) -> None:
    """The winner's and the baseline's in any case."""
    winner = facts.how.winner.number if facts.how.winner is not None else None
    few = len(facts.measured) <= _FEW
    shown = [
        (trial.number, m.peak_bytes / size, m.tokens_per_second)
        for trial, m in facts.measured
        if few or trial.number in front or trial.number in (winner, 0)
    ]
    shown.sort(key=lambda s: (s[0] != winner, s[0] != 0, s[0] not in front, -s[2]))
    names = {0: "0 (baseline)", winner: f"{winner} (winner)"}
    write_numbers(
        axes,
        [(names.get(number, str(number)), x, y) for number, x, y in shown],
        beside=[(x, y) for _, x, y in shown] if few else (),
        always=sum(number in names for number, _, _ in shown),
    )


def _alt(facts: Facts, front: Mapping[int, tuple[float, float]]) -> str:
    measured = facts.measured
    rates = [m.tokens_per_second for _, m in measured]
    peaks = [m.peak_bytes for _, m in measured]
    shown = list(front.items())
    if len(shown) > 5:
        shown = [*shown[:2], *shown[-3:]]
    told = "; ".join(
        f"trial {number} with {format_rate(rate)} tokens/s at {format_bytes(peak)}"
        for number, (peak, rate) in shown
    )
    if len(measured) == 1:
        return f"One measured trial: {told}."
    if not front:
        told = "no trial was measured to its end and trains as the first"
    apart = [t.number for t, _ in measured if facts.trains_differently(t)]
    crossed = (
        f" Crossed out, since {'it trains' if len(apart) == 1 else 'they train'} differently: "
        f"{len(apart)} trial{'' if len(apart) == 1 else 's'}."
        if apart
        else ""
    )
    some = "" if len(shown) == len(front) else f", {len(shown)} of its {len(front)} trials"
    return (
        f"{len(measured)} trials between {format_rate(min(rates))} and {format_rate(max(rates))} "
        f"tokens/s, and between {format_bytes(min(peaks))} and {format_bytes(max(peaks))} on the "
        f"fullest rank. The Pareto front of those measured to the end{some}: {told}.{crossed}"
    )


def _limits_in_words(limits: Sequence[int], near: Sequence[int]) -> str:
    if not limits:
        return ""
    told = ", ".join(format_bytes(limit) for limit in limits)
    where = "" if near else ", far to the right of the picture"
    return f" The memory limit of a rank is {told}{where}."
