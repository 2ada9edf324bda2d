"""What torch and DeepSpeed know of the machine they run on."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.ops.op_builder import AsyncIOBuilder


def environment() -> dict[str, Any]:
    """Versions and device: trials whose environments differ are not to be ranked together."""
    accelerator = get_accelerator()
    cuda = accelerator.device_name() == "cuda"
    return {
        "accelerator": accelerator.device_name(),
        "device": torch.cuda.get_device_name() if cuda else cpu_model(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "deepspeed": deepspeed.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "host": platform.node(),
    }


def cpu_model() -> str:
    """The processor's name as its maker gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def capabilities() -> dict[str, Any]:
    """The fields of ``core.machine.Machine`` that only the accelerator knows."""
    accelerator = get_accelerator()
    cuda = accelerator.device_name() == "cuda"
    return {
        "devices": torch.cuda.device_count() if cuda else None,
        "device_name": torch.cuda.get_device_name() if cuda else cpu_model(),
        "device_memory_bytes": torch.cuda.get_device_properties(0).total_memory if cuda else None,
        "bf16": bool(accelerator.is_bf16_supported()),
        "fp16": bool(accelerator.is_fp16_supported()),  # None on a CPU without it
        "libaio": AsyncIOBuilder().is_compatible(verbose=False),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(
        json.dumps({"capabilities": capabilities(), "environment": environment()})
    )
