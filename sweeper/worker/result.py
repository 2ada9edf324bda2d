"""The result of a rank that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.worker.ledger import Ledger
from sweeper.worker.machine import environment
from sweeper.worker.progress import Progress


def measured_result(
    *,
    beaten: bool,
    step_seconds: Sequence[float],
    warmup_step_seconds: Sequence[float],
    breakdown_seconds: Mapping[str, Sequence[float]],
    skipped_steps: int,
    losses: Sequence[float],
    tokens_per_step: int,
    flops_per_step: float | None,
    ledger: Ledger,
    progress: Progress,
) -> dict[str, Any]:
    """The names are those of ``core.measurement``."""
    return {
        "kind": "measured",
        "beaten": beaten,
        "step_seconds": list(step_seconds),
        "warmup_step_seconds": list(warmup_step_seconds),
        "breakdown_seconds": dict(breakdown_seconds),
        "skipped_steps": skipped_steps,
        "losses": list(losses),
        "tokens_per_step": tokens_per_step,
        "flops_per_step": flops_per_step,
        "memory": ledger.phases,
        "peak_device_allocated_bytes": ledger.largest("device_peak_allocated_bytes"),
        "peak_device_reserved_bytes": ledger.largest("device_peak_reserved_bytes"),
        "peak_host_resident_bytes": ledger.largest("host_peak_resident_bytes"),
        "phases_entered_at": progress.entered,
        "environment": environment(),
    }
