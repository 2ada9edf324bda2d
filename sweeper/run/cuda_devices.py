"""Which CUDA devices a trial would see, and what they are called: by index, by UUID, or as a part of one (MIG)."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.run.nvidia_smi import Gpu, gpus

# CUDA's own order is the fastest first, the driver's that of the bus: with it both mean the same by a number.
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDevice:
    """``id`` is what CUDA_VISIBLE_DEVICES calls it, ``gpu`` the driver's index of the card that it is on."""

    id: str
    gpu: int

    @property
    def is_part(self) -> bool:
        """Of a card that is cut: launchers that count devices cannot name it."""
        return self.id.startswith("MIG-")


def visible_devices() -> list[CudaDevice]:
    """As CUDA counts them: CUDA_VISIBLE_DEVICES up to the first that is not there, or all.

    A process sees one part of a cut card at most, whatever is named (NVIDIA, MIG user guide, "CUDA device
    enumeration"), and where no part is named the first. Raises EnvironmentUnfit as ``nvidia_smi.gpus``.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and named.strip() in ("", "-1"):
        return []
    return _visible(named)


@functools.cache
def _visible(named: str | None) -> list[CudaDevice]:
    there = gpus()
    if named is None:
        found = [_whole_or_first_part(gpu) for gpu in there]
    else:
        found = []
        for name in map(str.strip, named.split(",")):
            device = _called(name, there)
            if device is None or device in found:
                break
            found.append(device)
    parts = [device for device in found if device.is_part]
    return parts[:1] or found


def _whole_or_first_part(gpu: Gpu) -> CudaDevice:
    return CudaDevice(id=gpu.parts[0] if gpu.parts else str(gpu.index), gpu=gpu.index)


def _called(name: str, there: Sequence[Gpu]) -> CudaDevice | None:
    """A UUID may be shortened as long as it is clear which is meant."""
    if name.isdecimal():
        return next((_whole_or_first_part(gpu) for gpu in there if gpu.index == int(name)), None)
    if name.startswith("MIG-"):
        found = [
            CudaDevice(id=part, gpu=gpu.index)
            for gpu in there
            for part in gpu.parts
            if part.startswith(name)
        ]
    else:
        found = [_whole_or_first_part(g) for g in there if name and g.uuid.startswith(name)]
    return found[0] if len(found) == 1 else None
