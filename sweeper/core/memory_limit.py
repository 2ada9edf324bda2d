"""What one rank may use of memory, and what it is that sets this limit."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.core.machine import Machine
from sweeper.core.settings import Settings

DEVICE = "the device"
HOST = "the host"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """``set_by`` is the setting that binds, or ``DEVICE`` or ``HOST``: what is there."""

    bytes: int
    set_by: str


def memory_limit(settings: Settings, machine: Machine) -> MemoryLimit | None:
    """The least of what was asked for and what there is; None where nothing is known of either.

    Ranks on the CPU have equal shares of the host.
    """
    hardware = settings.hardware
    known = {
        "hardware.memory_limit": hardware.memory_limit_bytes,
        "hardware.device_memory": hardware.device_memory_bytes,
    }
    if hardware.accelerator == "cuda":
        known[DEVICE] = machine.device_memory_bytes
    else:
        described = hardware.host_memory_bytes
        known["hardware.host_memory"] = described // hardware.ranks if described else None
        known[HOST] = machine.host_memory_bytes // hardware.ranks
    limits = [MemoryLimit(bytes=size, set_by=name) for name, size in known.items() if size]
    return min(limits, key=lambda limit: limit.bytes, default=None)


def host_memory_bytes(settings: Settings, machine: Machine) -> int:
    """Of one node: as described, and no more than there is."""
    described = settings.hardware.host_memory_bytes
    return min(described or machine.host_memory_bytes, machine.host_memory_bytes)


def enforced_bytes(settings: Settings, machine: Machine) -> int:
    """As a trial's specification has it, in which 0 is all of a CUDA device.

    A trial on the CPU always has a limit, so that it runs out of memory by itself and the kernel
    never has to choose a victim. A device that is said to be smaller than this one is a limit too.
    """
    limit = memory_limit(settings, machine)
    return 0 if limit is None or limit.set_by == DEVICE else limit.bytes
