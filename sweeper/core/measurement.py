"""What was observed of a trial's training steps, and the statistics derived from it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Raw observations; rates and spreads are derived.

    ``step_seconds`` has one value for each measured optimizer step (all its micro-steps and the
    update, data included): the wall-clock time of the slowest rank. Memory is the largest over
    the ranks, device memory None where the device is the host.
    """

    step_seconds: tuple[float, ...]
    warmup_step_seconds: tuple[float, ...]
    skipped_steps: int
    losses: tuple[float, ...]
    samples_per_step: int
    tokens_per_step: int
    ranks: int
    peak_device_allocated_bytes: int | None
    peak_device_reserved_bytes: int | None
    peak_host_resident_bytes: int

    @property
    def median_step_seconds(self) -> float:
        return statistics.median(self.step_seconds)

    @property
    def tokens_per_second(self) -> float:
        """Median over the measured steps, all ranks together."""
        return self.tokens_per_step / self.median_step_seconds

    @property
    def samples_per_second(self) -> float:
        return self.samples_per_step / self.median_step_seconds

    @property
    def tokens_per_second_mad(self) -> float:
        """Median absolute deviation of the steps' throughputs, in tokens/s."""
        return median_absolute_deviation([self.tokens_per_step / s for s in self.step_seconds])

    @property
    def peak_bytes(self) -> int:
        """What decides whether it fits: reserved memory on a device, resident on the host."""
        if self.peak_device_reserved_bytes is not None:
            return self.peak_device_reserved_bytes
        return self.peak_host_resident_bytes


def median_absolute_deviation(values: Sequence[float]) -> float:
    """The median distance from the median, unscaled."""
    center = statistics.median(values)
    return statistics.median(abs(v - center) for v in values)
