"""What was observed of a trial's training steps, and the statistics derived from it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.core.statistics import Interval, median_absolute_deviation, median_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Raw observations; rates and spreads are derived.

    ``step_seconds`` has one value for each measured optimizer step (all its micro-steps and the
    update; its batches lie on the device before): the wall-clock time of the slowest rank. Memory is the largest over
    the ranks, device memory None where the device is the host. ``losses`` are those of all applied
    steps from the first on, the mean over the ranks; ``breakdown_seconds`` the slowest rank's
    forward, backward, optimizer and rest in some further steps; ``flops_per_step`` the model's own
    count for the global batch; ``memory`` each rank's ledger by phase.
    """

    step_seconds: tuple[float, ...]
    warmup_step_seconds: tuple[float, ...]
    skipped_steps: int
    losses: tuple[float, ...]
    breakdown_seconds: Mapping[str, tuple[float, ...]]
    flops_per_step: float | None
    memory: tuple[Mapping[str, Mapping[str, int | None]], ...]
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
    def tokens_per_second_interval(self) -> Interval:
        """Of the median, at 95 % where there are six steps or more."""
        return median_interval([self.tokens_per_step / s for s in self.step_seconds])

    @property
    def tflops_per_device(self) -> float | None:
        """Model TFLOP/s of one rank: recomputation is not counted."""
        if self.flops_per_step is None:
            return None
        return self.flops_per_step / self.median_step_seconds / self.ranks / 1e12

    @property
    def breakdown(self) -> dict[str, float]:
        """Median seconds by part of a step."""
        return {name: statistics.median(s) for name, s in self.breakdown_seconds.items() if s}

    @property
    def alloc_retries(self) -> int:
        """Above zero it fits but thrashes: allocations that worked after the cache was flushed."""
        return sum(
            phase.get("device_alloc_retries") or 0
            for rank in self.memory
            for phase in rank.values()
        )

    @property
    def peak_bytes(self) -> int:
        """What decides whether it fits: reserved memory on a device, resident on the host."""
        if self.peak_device_reserved_bytes is not None:
            return self.peak_device_reserved_bytes
        return self.peak_host_resident_bytes
