"""How a trial's ZeRO stage and offload look, and are called, in every picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from matplotlib.lines import Line2D

from sweeper.core.trial import Trial
from sweeper.report.figures.frame import BLUE, GREEN, INK, MUTED, ORANGE, RED

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


def stage_handles(stages: Iterable[int]) -> list[Line2D]:
    """A legend's entries, one for each stage."""
    return [
        Line2D([], [], marker="o", linestyle="none", color=stage_color(s), label=f"ZeRO {s}")
        for s in sorted(set(stages))
    ]


def offload_handles(offloads: Iterable[Offload]) -> list[Line2D]:
    """A legend's entries, one for each kind of offload."""
    ordered = offload_order(offloads)
    return [
        Line2D(
            [],
            [],
            marker=offload_marker(o, ordered),
            linestyle="none",
            color=INK,
            fillstyle="none",
            label=offload_name(o),
        )
        for o in ordered
    ]
