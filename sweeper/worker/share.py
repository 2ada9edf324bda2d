"""What a rank may use of the machine: its cores, its dtypes, its memory."""

from __future__ import annotations

import os
from typing import Any

import torch

from sweeper.core.spec import TrialSpec
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.limits import limit_host_memory


def bind_cores(spec: TrialSpec) -> None:
    """An equal, contiguous share of the cores, before any thread has started on others."""
    if spec.bind_cores:
        cores = sorted(os.sched_getaffinity(0))
        share = max(len(cores) // spec.ranks, 1)
        first = int(os.environ["LOCAL_RANK"]) * share % len(cores)
        os.sched_setaffinity(0, cores[first : first + share])


def check_support(spec: TrialSpec, accelerator: Any) -> None:
    """Raises UnsupportedHere for what this machine lacks."""
    name = accelerator.device_name()
    if name != spec.accelerator:
        raise UnsupportedHere(
            f"hardware.accelerator={spec.accelerator}, but DeepSpeed trains on {name} here"
        )
    offload = spec.ds_config["zero_optimization"]
    for section in ("offload_optimizer", "offload_param"):
        nvme = offload.get(section, {}).get("nvme_path")
        if nvme is not None and not os.path.isdir(nvme):
            raise UnsupportedHere(f"offload.nvme_path={nvme}: there is no such folder")
    if spec.precision == "fp16" and not accelerator.is_fp16_supported():
        raise UnsupportedHere(f"fp16 is not supported on this {name}")
    if spec.precision in ("bf16", "autocast_bf16") and not accelerator.is_bf16_supported():
        raise UnsupportedHere(f"bf16 is not supported on this {name}")


def limit_memory(spec: TrialSpec, accelerator: Any) -> None:
    """From here on, on this rank's own device, whichever is chosen at the moment."""
    if accelerator.device_name() == "cpu":
        limit_host_memory(spec.memory_limit_bytes)
    elif spec.memory_limit_bytes:
        device = int(os.environ.get("LOCAL_RANK", "0"))
        fraction = spec.memory_limit_bytes / accelerator.total_memory(device)
        torch.cuda.set_per_process_memory_fraction(min(fraction, 1.0), device=device)
