"""The memory that one rank uses, phase by phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sweeper.worker.limits import peak_resident_bytes, reset_peak_resident, status_bytes

CGROUP = Path("/sys/fs/cgroup")


class Ledger:
    """``close(phase)`` notes what has been used since the last call; bytes, None where unknown.

    On a CUDA device: the allocator's allocated, active and reserved peaks, what the device itself
    counts as used at the end of the phase (all processes), and how often an allocation had to be
    tried again after the cache was flushed. On the host: peak resident, and at the end of the phase
    proportional (shared pages shared out) and pinned memory, and the control group's own peak.
    """

    def __init__(self, accelerator: Any) -> None:
        self._on_device = accelerator.device_name() == "cuda"
        self._retries_before = 0
        self.phases: dict[str, dict[str, int | None]] = {}

    def close(self, phase: str) -> None:
        """Ends a phase; the next begins."""
        entry: dict[str, int | None] = {
            "host_peak_resident_bytes": peak_resident_bytes(),
            "host_proportional_bytes": _proportional_bytes(),
            "host_pinned_bytes": self._pinned_bytes(),
            "cgroup_peak_bytes": _number(CGROUP / "memory.peak"),
        }
        reset_peak_resident()
        if self._on_device:
            entry |= self._device()
        self.phases[phase] = entry

    def _device(self) -> dict[str, int | None]:
        statistics = torch.cuda.memory_stats()
        free, total = torch.cuda.mem_get_info()
        retries = statistics["num_alloc_retries"]
        entry: dict[str, int | None] = {
            "device_peak_allocated_bytes": statistics["allocated_bytes.all.peak"],
            "device_peak_active_bytes": statistics["active_bytes.all.peak"],
            "device_peak_reserved_bytes": statistics["reserved_bytes.all.peak"],
            "device_used_bytes": total - free,
            "device_alloc_retries": retries - self._retries_before,
        }
        self._retries_before = retries
        torch.cuda.reset_peak_memory_stats()
        return entry

    def _pinned_bytes(self) -> int | None:
        """What torch's allocator of page-locked memory held at most; without it, what is locked now."""
        statistics = getattr(torch.cuda, "host_memory_stats", None)
        if self._on_device and statistics is not None:
            peak = statistics().get("allocated_bytes.peak")
            return None if peak is None else int(peak)
        return status_bytes("VmLck")

    def largest(self, name: str) -> int | None:
        """Over the phases so far."""
        values = [entry.get(name) for entry in self.phases.values()]
        known = [value for value in values if value is not None]
        return max(known) if known else None


def _proportional_bytes() -> int | None:
    try:
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
