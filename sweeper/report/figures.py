"""The pictures of a report, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sweeper.core.equivalence import loss_differences
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, measurement_of
from sweeper.core.trial import Trial

STAGE_COLORS = {0: "#4269d0", 1: "#efb118", 2: "#3ca951", 3: "#ff725c"}
OFFLOAD_MARKERS = {("none", "none"): "o", ("cpu", "none"): "s", ("cpu", "cpu"): "D"}
OFFLOAD_NAMES = {
    ("none", "none"): "no offload",
    ("cpu", "none"): "optimizer offloaded",
    ("cpu", "cpu"): "optimizer and parameters offloaded",
}


def draw_figures(
    trials: Sequence[Trial], importances: Mapping[str, float], folder: Path
) -> dict[str, Path]:
    """Title -> file, for each figure that there is something to draw for."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = [(t, m) for t in trials if (m := measurement_of(t.outcome)) is not None]
    drawn: dict[str, Path] = {}
    if measured:
        drawn["Throughput against peak memory"] = _save(
            folder / "throughput_memory.png", _throughput_memory, measured
        )
        drawn["Throughput by ZeRO stage and micro-batch"] = _save(
            folder / "throughput_stage_micro_batch.png", _stage_micro_batch, measured
        )
        drawn["Loss of each optimizer step"] = _save(folder / "losses.png", _losses, trials)
        drawn["Best so far"] = _save(folder / "best_so_far.png", _best_so_far, trials)
    if importances:
        drawn["Importance of each option for throughput"] = _save(
            folder / "importances.png", _importances, importances
        )
    return drawn


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (memory, throughput) points those that no other beats in both, by rising memory."""
    front: list[tuple[float, float]] = []
    for memory, throughput in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or throughput > front[-1][1]:
            front.append((memory, throughput))
    return front


def _save(path: Path, draw: object, what: object) -> Path:
    assert callable(draw)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    draw(axes, what)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _throughput_memory(axes: Axes, measured: Sequence[tuple[Trial, Measurement]]) -> None:
    shown = set()
    for trial, m in measured:
        stage, offload = _stage(trial), _offload(trial)
        shown.add((stage, offload))
        axes.errorbar(
            m.peak_bytes / 2**30,
            m.tokens_per_second,
            yerr=m.tokens_per_second_mad,
            marker=OFFLOAD_MARKERS.get(offload, "o"),
            color=STAGE_COLORS.get(stage, "gray"),
            linestyle="none",
            capsize=2,
            zorder=3,
        )
        axes.annotate(
            str(trial.number),
            (m.peak_bytes / 2**30, m.tokens_per_second),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=8,
        )
    front = pareto_front([(m.peak_bytes / 2**30, m.tokens_per_second) for _, m in measured])
    # From the bottom up to the first point, and on to the right of the last: also one point shows.
    corners = [(front[0][0], 0.0), *front, (axes.get_xlim()[1], front[-1][1])]
    axes.step(*zip(*corners, strict=True), where="post", color="gray", linewidth=1, zorder=1)
    limits = {t.memory_limit_bytes for t, _ in measured if t.memory_limit_bytes}
    largest = max(m.peak_bytes for _, m in measured)
    for limit in limits:
        if limit < 2 * largest:  # further away it would squeeze the points together
            axes.axvline(limit / 2**30, color="crimson", linestyle="--", linewidth=1)
            axes.annotate(
                "memory limit",
                (limit / 2**30, 0),
                xycoords=("data", "axes fraction"),
                xytext=(-4, 4),
                textcoords="offset points",
                rotation=90,
                ha="right",
                color="crimson",
            )
    for stage in sorted({stage for stage, _ in shown}):
        axes.plot([], [], "o", color=STAGE_COLORS.get(stage, "gray"), label=f"ZeRO {stage}")
    for offload in sorted({offload for _, offload in shown}, reverse=True):
        axes.plot(
            [],
            [],
            OFFLOAD_MARKERS.get(offload, "o"),
            color="gray",
            fillstyle="none",
            label=OFFLOAD_NAMES.get(offload, " ".join(offload)),
        )
    axes.plot([], [], color="gray", linewidth=1, label="Pareto front")
    on_device = measured[0][1].peak_device_reserved_bytes is not None
    memory = "reserved device" if on_device else "resident host"
    axes.set(xlabel=f"peak {memory} memory of the worst rank (GiB)", ylabel="tokens/s")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, loc="best")
    axes.set_title("Throughput against peak memory (numbers are trials)")


def _stage_micro_batch(axes: Axes, measured: Sequence[tuple[Trial, Measurement]]) -> None:
    table = pd.DataFrame(
        [(_stage(t), t.settings["batch.micro_size"], m.tokens_per_second) for t, m in measured],
        columns=["stage", "micro", "throughput"],
    )
    for stage, rows in table.groupby("stage"):
        color = STAGE_COLORS.get(int(str(stage)), "gray")
        best = rows.groupby("micro")["throughput"].max().sort_index()
        aside = 2 ** (0.05 * (int(str(stage)) - 1.5))  # equal points of two stages both show
        axes.plot(best.index * aside, best.to_numpy(), "-", color=color, alpha=0.7)
        axes.plot(rows["micro"] * aside, rows["throughput"], "o", color=color)
        axes.plot([], [], "-o", color=color, label=f"ZeRO {stage}")
    micro_sizes = sorted(table["micro"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(micro_sizes, [str(size) for size in micro_sizes])
    axes.minorticks_off()
    axes.set(xlabel="micro-batch size (samples)", ylabel="tokens/s")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, loc="best")
    axes.set_title("Throughput by ZeRO stage and micro-batch (dots are trials, lines the best)")


def _losses(axes: Axes, trials: Sequence[Trial]) -> None:
    differences = loss_differences(trials)
    for trial in trials:
        measurement = measurement_of(trial.outcome)
        if measurement is None:
            continue
        losses = measurement.losses
        steps = range(1, len(losses) + 1)
        difference = differences.get(trial.number)
        if difference is not None and difference.trains_differently:
            axes.plot(steps, losses, "-x", color="crimson", label=f"trial {trial.number} differs")
        else:
            axes.plot(steps, losses, color="#4269d0", alpha=0.4)
    axes.plot([], [], color="#4269d0", label="trials that train alike")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="optimizer step", ylabel="loss")
    axes.legend(fontsize=8)
    axes.set_title("Loss of each optimizer step, all trials on the same batches")


def _best_so_far(axes: Axes, trials: Sequence[Trial]) -> None:
    best, line = 0.0, []
    for trial in trials:
        if isinstance(trial.outcome, Measured):
            value = trial.outcome.measurement.tokens_per_second
            best = max(best, value)
            axes.plot(trial.number, value, "o", color="#4269d0")
        else:
            axes.plot(trial.number, 0, "x", color="crimson", clip_on=False, zorder=3)
        line.append((trial.number, best))
    axes.step(*zip(*line, strict=True), where="post", color="#4269d0", label="best so far")
    axes.plot([], [], "o", color="#4269d0", label="measured")
    axes.plot([], [], "x", color="crimson", label="not measured")
    axes.set(xlabel="trial", ylabel="tokens/s")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, loc="lower right")
    axes.set_title("Best so far")


def _importances(axes: Axes, importances: Mapping[str, float]) -> None:
    names = sorted(importances, key=lambda name: importances[name])
    bars = axes.barh(names, [importances[name] for name in names], color="#4269d0")
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set_xlim(right=1.05 * max(1e-9, *importances.values()) + 0.05)
    axes.set(xlabel="share of the variance of tokens/s among measured trials (PED-ANOVA)")
    axes.set_title("Importance of each option for throughput")


def _stage(trial: Trial) -> int:
    return int(trial.settings["zero.stage"])


def _offload(trial: Trial) -> tuple[str, str]:
    return str(trial.settings["offload.optimizer"]), str(trial.settings["offload.params"])
