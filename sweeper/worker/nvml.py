"""NVML, which does not survive a fork and counts no parts of devices (MIG): nothing of a trial's own asks it.

What is initialised in a process is spoilt in its forks (NVIDIA/cuCascade#138, geopm#3083). DeepSpeed asks it for
free memory where ``pynvml`` is installed, by numbers that it reads from CUDA_VISIBLE_DEVICES (DeepSpeed PR #8510);
where it is not, it takes what torch knows.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def as_if_not_installed() -> Iterator[None]:
    """For the making of DeepSpeed's accelerator; a script may import ``pynvml`` afterwards."""
    before: dict[str, ModuleType] = {n: m for n, m in sys.modules.items() if n == "pynvml"}
    sys.modules["pynvml"] = None  # type: ignore[assignment]  # the import system's own word for it
    try:
        yield
    finally:
        del sys.modules["pynvml"]
        sys.modules.update(before)


@contextlib.contextmanager
def device_is_there() -> Iterator[None]:
    """Within, torch says so without asking NVML or CUDA: the study has asked nvidia-smi.

    Triton's kernels are defined at import or never, by what torch says then.
    """
    import torch

    asked = torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    try:
        yield
    finally:
        torch.cuda.is_available = asked
