"""What is known of the hardware when a trial is planned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One node. None means not known: the trial itself then finds out."""

    cores: int
    host_memory_bytes: int
    devices: int | None = None
    device_name: str | None = None
    device_memory_bytes: int | None = None
    bf16: bool | None = None
    fp16: bool | None = None
    libaio: bool | None = None
