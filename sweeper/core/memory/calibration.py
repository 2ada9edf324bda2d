"""Corrects the memory model by what trials measured, with an honest uncertainty.

A Bayesian linear regression of the measured peak, as a share of the predicted one, on the shares of
groups of components (centred at 1: the formulas are believed, more or less) and on small offsets for
the settings that pick a code path of their own (centred at 0). Each trial is a rank-one update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

from sweeper.core.memory.model import MemoryNeed
from sweeper.core.outcome import Measured, Outcome, OutOfMemory
from sweeper.core.settings import Settings

# A candidate is not started where it fits with less than this probability,
START_PROBABILITY = 0.01
# and called fitting where it fits with more than this, with a margin of the limit left.
FIT_PROBABILITY = 0.99
FIT_MARGIN = 0.03

# How far a group's bytes may be off beside what all of them are, as one standard deviation: what is
# allocated by shapes is known better than what depends on kernels and allocators.
_GROUPS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "base": (("framework base",), 0.03),
    "states": (("parameters", "master weights", "optimizer states"), 0.03),
    "gradients": (("gradients", "buckets and communication"), 0.08),
    "activations": (("activations", "logits and loss"), 0.12),
    "workspace": (("workspace",), 0.20),
}
_ALL = 0.08  # of everything on a machine, as a share of the peak
_OFFSET = 0.015  # of a code path, likewise
_NOISE = 0.045  # of one trial against another of like settings
_NOISE_TRIALS = 6.0  # what the line above weighs against measured residuals
_LEAST_DEVIATION = 0.005

_Vector: TypeAlias = list[float]
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Of the peak. ``untouched_bytes`` are within a limit too, though not part of the peak."""

    mean_bytes: float
    deviation_bytes: float
    untouched_bytes: float = 0.0

    def probability_below(self, limit_bytes: float) -> float:
        """P(fits), by the logistic distribution of this mean and deviation.

        What is not in the formulas is far off now and then: its tails are wider than the normal's.
        """
        room = limit_bytes - self.untouched_bytes - self.mean_bytes
        scale = max(self.deviation_bytes, 1.0) * math.sqrt(3.0) / math.pi
        return 0.5 * (1.0 + math.tanh(room / scale / 2.0))


def surely_too_large(estimate: MemoryEstimate, limit_bytes: float) -> bool:
    """Not worth a process."""
    return estimate.probability_below(limit_bytes) < START_PROBABILITY


def fits(estimate: MemoryEstimate, limit_bytes: float) -> bool:
    """With the default margin."""
    return estimate.probability_below(limit_bytes * (1.0 - FIT_MARGIN)) > FIT_PROBABILITY


class Calibration:
    """What has been learned so far; without a trial, the formulas and how far they are believed."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._weights: _Vector = []
        self._covariance: list[_Vector] = []
        self._squares = 0.0
        self.num_learned = 0
        for name, (_, deviation) in _GROUPS.items():
            self._add(name, 1.0, deviation)
        self._add("all", 0.0, _ALL)

    def learn(
        self,
        settings: Settings,
        need: MemoryNeed,
        outcome: Outcome,
        limit_bytes: int | None = None,
    ) -> None:
        """A measured peak is an observation; out of memory says that the limit was too little."""
        scale = float(max(need.peak_bytes, 1))
        match outcome:
            case Measured(measurement=measurement):
                self._observe(self._row(settings, need), measurement.peak_bytes / scale)
            case OutOfMemory(memory=memory) if limit_bytes and memory == self._kept_in(settings):
                self._exceeded(
                    self._row(settings, need), (limit_bytes - need.untouched_bytes) / scale
                )

    def _kept_in(self, settings: Settings) -> str:
        """Which memory the peaks are of: what else ran out says nothing of it."""
        return "host" if settings.hardware.accelerator == "cpu" else "device"

    def estimate(self, settings: Settings, need: MemoryNeed) -> MemoryEstimate:
        row = self._row(settings, need)
        mean = sum(self._weights[i] * x for i, x in row.items())
        noise = self._noise_variance()
        # Where trials scatter more than was believed, they have taught less than was believed.
        doubt = max(noise / _NOISE**2, 1.0)
        variance = doubt * _dot(row, self._times(row)) + noise
        mean, deviation = max(mean, 0.05), max(variance**0.5, _LEAST_DEVIATION)
        return MemoryEstimate(
            mean_bytes=mean * need.peak_bytes,
            deviation_bytes=deviation * need.peak_bytes,
            untouched_bytes=need.untouched_bytes,
        )

    def _row(self, settings: Settings, need: MemoryNeed) -> dict[int, float]:
        """The regressors that are not zero, by their index."""
        scale = float(max(need.peak_bytes, 1))
        row = {}
        for name, (components, _) in _GROUPS.items():
            size = sum(need.component(c) for c in components) / scale
            if size:
                row[self._names[name]] = size
        row[self._names["all"]] = 1.0
        for name in _paths(settings):
            if name not in self._names:
                self._add(name, 0.0, _OFFSET)
            row[self._names[name]] = 1.0
        return row

    def _add(self, name: str, mean: float, deviation: float) -> None:
        size = len(self._weights)
        self._names[name] = size
        self._weights.append(mean)
        for line in self._covariance:
            line.append(0.0)
        self._covariance.append([0.0] * size + [deviation**2])

    def _noise_variance(self) -> float:
        return (_NOISE_TRIALS * _NOISE**2 + self._squares) / (_NOISE_TRIALS + self.num_learned)

    def _times(self, row: Mapping[int, float]) -> _Vector:
        return [sum(line[i] * x for i, x in row.items()) for line in self._covariance]

    def _observe(self, row: dict[int, float], measured: float) -> None:
        error = measured - sum(self._weights[i] * x for i, x in row.items())
        direction = self._times(row)
        variance = _dot(row, direction) + _NOISE**2
        self._update(direction, gain=error / variance, shrink=1.0 / variance)
        # Its part of the squared error that noise explains, not what was not yet known.
        self._squares += error**2 * _NOISE**2 / variance
        self.num_learned += 1

    def _exceeded(self, row: dict[int, float], limit: float) -> None:
        """Only that the peak is above: the moments of the truncated normal (a probit's update)."""
        direction = self._times(row)
        variance = _dot(row, direction) + self._noise_variance()
        deviation = variance**0.5
        z = (sum(self._weights[i] * x for i, x in row.items()) - limit) / deviation
        # Far below the limit the ratio tends to -z, and its parts to nothing that a float can hold.
        ratio = _NORMAL.pdf(z) / _NORMAL.cdf(z) if z > -6 else -z
        shrink = min(max(ratio * (ratio + z), 0.0), 1.0) / variance
        self._update(direction, gain=ratio / deviation, shrink=shrink)

    def _update(self, direction: _Vector, *, gain: float, shrink: float) -> None:
        for i, d in enumerate(direction):
            if d:
                self._weights[i] += d * gain
                line = self._covariance[i]
                factor = d * shrink
                for j, other in enumerate(direction):
                    line[j] -= factor * other


def _dot(row: Mapping[int, float], vector: _Vector) -> float:
    return sum(x * vector[i] for i, x in row.items())


def _paths(settings: Settings) -> tuple[str, ...]:
    """The settings that make DeepSpeed take code of its own."""
    degrees = settings.parallel
    named = {
        f"stage {settings.zero.stage}": True,
        f"precision {settings.precision.mode}": True,
        "offloaded optimizer": settings.offload.optimizer != "none",
        "offloaded parameters": settings.offload.params != "none",
        "several ranks": settings.hardware.ranks > 1,
        "recomputation": settings.checkpointing.every_nth_block > 0,
        "tensor": degrees.tensor > 1,
        "pipeline": degrees.pipeline > 1,
        "sequence": degrees.sequence > 1,
        "expert": degrees.expert > 1,
        "compiled": settings.compile.mode != "none",
    }
    return tuple(name for name, applies in named.items() if applies)
