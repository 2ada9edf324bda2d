"""The bytes that a rank needs, by component, from settings and a model's profile alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.core.memory.activations import activations
from sweeper.core.memory.pieces import (
    PAGE_LOCKED_ROUNDING,
    Phase,
    Piece,
    page_locked_rounding,
    peak_of_device,
    peak_of_process,
    phases_of_device,
    phases_of_process,
)
from sweeper.core.memory.share import shares_of
from sweeper.core.memory.states import states
from sweeper.core.model_profile import ModelProfile
from sweeper.core.settings import Settings

COMPONENTS = (
    "parameters",
    "master weights",
    "optimizer states",
    "gradients",
    "buckets and communication",
    "activations",
    "logits and loss",
    "workspace",
    PAGE_LOCKED_ROUNDING,
    "framework base",
)
# Resident set of a rank on the CPU that trains a model of no size: interpreter, libraries, threads
# (fitted to the published grid of gpt2-nano). Other dtypes bring kernels of their own.
CPU_BASE_BYTES = {
    "fp32": 394 * 2**20,
    "bf16": 402 * 2**20,
    "fp16": 402 * 2**20,
    "autocast_bf16": 406 * 2**20,
}
# What the matrix kernels keep for packing, unless all weights together are less.
CPU_KERNEL_BYTES = 24 * 2**20
# How much of the heap what comes and goes takes there, by stage, over what it needs at most: from
# stage 2 on gradients are taken away one by one between the activations, and leave holes.
CPU_FRAGMENTATION = {0: 1.3, 1: 1.3, 2: 1.9, 3: 1.9}
# What is mapped as data there and never touched, thread stacks foremost.
CPU_UNTOUCHED_BASE_BYTES = 200 * 2**20
# Resident set of a rank on CUDA beside what it offloads: the libraries and the context's host side.
CUDA_HOST_BASE_BYTES = 2 * 2**30
# cuBLAS workspaces and what the caching allocator loses to rounding and splitting.
CUDA_WORKSPACE_BYTES = 64 * 2**20
CUDA_FRAGMENTATION = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Components in bytes, on the rank that needs most, at the moment when it does.

    ``shared`` where device and host are one memory. ``untouched_bytes`` are allocated and never
    written to: not resident, yet within a resource limit.
    """

    device: Mapping[str, int]
    host: Mapping[str, int]
    shared: bool
    untouched_bytes: int = 0

    @property
    def device_bytes(self) -> int:
        return sum(self.device.values())

    @property
    def host_bytes(self) -> int:
        return sum(self.host.values())

    @property
    def peak_bytes(self) -> int:
        """What Measurement.peak_bytes would be."""
        return self.device_bytes + (self.host_bytes if self.shared else 0)

    @property
    def limited_bytes(self) -> int:
        """What a memory limit counts: worker/limits.py, and DECISIONS.md 6."""
        return self.peak_bytes + self.untouched_bytes

    def component(self, name: str) -> int:
        """On device and host where they are one memory, else on the device."""
        return self.device.get(name, 0) + (self.host.get(name, 0) if self.shared else 0)


def memory_need(settings: Settings, profile: ModelProfile) -> MemoryNeed:
    """Raises KeyError for a precision that the profile does not know."""
    return _need(settings, profile, _pieces(settings, profile))


def _need(settings: Settings, profile: ModelProfile, pieces: list[Piece]) -> MemoryNeed:
    if settings.hardware.accelerator == "cpu":
        peak = peak_of_process(pieces, fragmentation=CPU_FRAGMENTATION[settings.zero.stage])
        return MemoryNeed(
            device=_rounded(_with_kernels(peak.device, profile)),
            host=_rounded(_with_base(peak.host, settings)),
            shared=True,
            untouched_bytes=round(peak.untouched) + CPU_UNTOUCHED_BASE_BYTES,
        )
    peak = peak_of_device(pieces)
    return MemoryNeed(
        device=_rounded(_with_allocator(peak.device)),
        host=_rounded(_with_base(peak.host, settings)),
        shared=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Components in bytes in each phase of a step, on a rank's device and host.

    In the phase that needs most they are MemoryNeed's. ``device`` is None where the two are one
    memory.
    """

    device: Mapping[Phase, Mapping[str, int]] | None
    host: Mapping[Phase, Mapping[str, int]]


def memory_phases(settings: Settings, profile: ModelProfile) -> Phases:
    """What is where and when. Raises KeyError as memory_need."""
    pieces = _pieces(settings, profile)
    if settings.hardware.accelerator == "cpu":
        fragmentation = CPU_FRAGMENTATION[settings.zero.stage]
        together = phases_of_process(pieces, fragmentation=fragmentation)
        return Phases(
            device=None,
            host={
                phase: _rounded(_with_base(_with_kernels(components, profile), settings))
                for phase, components in together.items()
            },
        )
    device = phases_of_device(pieces, "device")
    host = phases_of_device(pieces, "host")
    return Phases(
        device={phase: _rounded(_with_allocator(there)) for phase, there in device.items()},
        host={phase: _rounded(_with_base(there, settings)) for phase, there in host.items()},
    )


def _pieces(settings: Settings, profile: ModelProfile) -> list[Piece]:
    """Of the rank that needs most."""
    of_each = []
    for share in shares_of(settings, profile):
        pieces = [*states(settings, share), *activations(settings, profile, share)]
        if settings.hardware.accelerator != "cpu":
            pieces += page_locked_rounding(pieces)
        of_each.append(pieces)
    return max(of_each, key=lambda pieces: _need(settings, profile, pieces).peak_bytes)


def _with_kernels(components: Mapping[str, float], profile: ModelProfile) -> dict[str, float]:
    kernels = min(CPU_KERNEL_BYTES, 4 * profile.num_parameters)
    return {**components, "workspace": components.get("workspace", 0.0) + kernels}


def _with_allocator(components: Mapping[str, float]) -> dict[str, float]:
    workspace = CUDA_WORKSPACE_BYTES + CUDA_FRAGMENTATION * sum(components.values())
    return {**components, "workspace": components.get("workspace", 0.0) + workspace}


def _with_base(components: Mapping[str, float], settings: Settings) -> dict[str, float]:
    on_cpu = settings.hardware.accelerator == "cpu"
    base = CPU_BASE_BYTES[settings.precision.mode] if on_cpu else CUDA_HOST_BASE_BYTES
    return {**components, "framework base": base}


def _rounded(components: Mapping[str, float]) -> dict[str, int]:
    return {name: round(components[name]) for name in COMPONENTS if components.get(name, 0.0) > 0}
