"""What torch and DeepSpeed know of the machine they run on."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.git_version_info import accelerator_name, installed_ops
from deepspeed.ops.op_builder import AsyncIOBuilder
from deepspeed.ops.op_builder.builder import CUDAOpBuilder, installed_cuda_version


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
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if cuda else None,
        # NGC's containers turn it on (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE).
        "tf32": torch.get_float32_matmul_precision() != "highest" if cuda else None,
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


def ops(builders: Sequence[str]) -> dict[str, Any]:
    """What each of DeepSpeed's builders, by its class name, needs here; None where it has none."""
    found: dict[str, Any] = {}
    for name in builders:
        builder = get_accelerator().create_op_builder(name)
        if builder is None or name != type(builder).__name__:
            found[name] = None
            continue
        installed = accelerator_name == get_accelerator().device_name()
        found[name] = {
            "installed": installed and bool(installed_ops.get(builder.name)),
            "cuda_toolkit": isinstance(builder, CUDAOpBuilder),
        }
    return found


def cuda_toolkit() -> dict[str, Any]:
    """Whether ops would be compiled for CUDA on first use with the toolkit that torch finds.

    By torch's rule (utils/cpp_extension.py): the same major version. DeepSpeed's own, of the minor one too, is
    for wheels that are built ahead.
    """
    found = {"torch_cuda": torch.version.cuda, "refused": None}
    if torch.version.cuda is not None:
        try:
            major, _ = installed_cuda_version()
        except Exception as error:  # a toolkit without nvcc, or with one that says something else
            found["refused"] = str(error)
        else:
            if str(major) != torch.version.cuda.partition(".")[0]:
                found["refused"] = f"release {major} is not torch's {torch.version.cuda}"
    return found


def main(answer: Path, builders: Sequence[str]) -> None:
    """Writes the answer; of ops and toolkit only where builders are named, since it takes longer."""
    document = {"capabilities": capabilities(), "environment": environment()}
    if builders:
        document |= {"ops": ops(builders), "cuda_toolkit": cuda_toolkit()}
    answer.write_text(json.dumps(document))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
