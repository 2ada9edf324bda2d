"""One rank's training: builds the model, lets DeepSpeed take it, and has its steps measured."""

from __future__ import annotations

import os
from typing import Any

import deepspeed
import torch
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator

from sweeper.core.folder import TrialFolder, write_json
from sweeper.core.spec import TrialSpec
from sweeper.worker.batches import Batches
from sweeper.worker.building import Training, build
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.feed import flops_per_sample, tokens_per_sample
from sweeper.worker.ledger import Ledger
from sweeper.worker.limits import count_file_pages_from_here, limit_host_memory
from sweeper.worker.machine import environment
from sweeper.worker.ops import adopt_built_ops
from sweeper.worker.progress import Progress
from sweeper.worker.steps import DivergedError, Steps


def train(spec: TrialSpec, folder: TrialFolder, progress: Progress) -> dict[str, Any]:
    """This rank's result. Exceptions are the caller's to record."""
    _bind_cores(spec)
    accelerator = get_accelerator()
    _check_support(spec, accelerator)
    progress.enter("connect")
    adopt_built_ops(spec.ops)
    if spec.accelerator != "cpu":
        accelerator.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed(dist_backend=accelerator.communication_backend_name())
    _limit_memory(spec, accelerator)
    ledger = Ledger(accelerator)

    progress.enter("build")
    training = build(spec, lambda: progress.enter("initialize"))
    if dist.get_rank() == 0:
        write_json(folder.ds_config, training.config)
    batches = Batches(
        spec,
        make_batch=training.batches,
        data_rank=training.data_rank,
        device=str(training.engine.device),
    )
    ledger.close("build")
    count_file_pages_from_here()

    steps = Steps(training, batches, progress)
    try:
        progress.enter("warm-up")
        warmup = steps.warm_up(spec)
        ledger.close("warm-up")
        progress.enter("measure")
        measured = steps.measure(spec)
        ledger.close("steady")
        progress.enter("break-down")
        breakdown = {} if steps.was_beaten else steps.break_down(spec)
    except DivergedError as error:
        return {"kind": "diverged", "phase": progress.phase, "reason": str(error)}
    progress.enter("end")
    return {
        "kind": "measured",
        "beaten": steps.was_beaten,
        "step_seconds": measured,
        "warmup_step_seconds": warmup,
        "breakdown_seconds": breakdown,
        "skipped_steps": steps.num_skipped,
        "losses": steps.losses,
        "tokens_per_sample": tokens_per_sample(training.model, spec.sequence_length),
        "flops_per_step": _flops_per_step(training, spec),
        "memory": ledger.phases,
        "peak_device_allocated_bytes": ledger.largest("device_peak_allocated_bytes"),
        "peak_device_reserved_bytes": ledger.largest("device_peak_reserved_bytes"),
        "peak_host_resident_bytes": ledger.largest("host_peak_resident_bytes"),
        "phases_entered_at": progress.entered,
        "environment": environment(),
    }


def _flops_per_step(training: Training, spec: TrialSpec) -> float | None:
    """Of the whole global batch, where the model knows."""
    flops = flops_per_sample(training.model, spec.sequence_length)
    return None if flops is None else flops * spec.global_batch_size


def _bind_cores(spec: TrialSpec) -> None:
    """An equal, contiguous share of the cores, before any thread has started on others."""
    if spec.bind_cores:
        cores = sorted(os.sched_getaffinity(0))
        share = max(len(cores) // spec.ranks, 1)
        first = int(os.environ["LOCAL_RANK"]) * share % len(cores)
        os.sched_setaffinity(0, cores[first : first + share])


def _check_support(spec: TrialSpec, accelerator: Any) -> None:
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


def _limit_memory(spec: TrialSpec, accelerator: Any) -> None:
    if accelerator.device_name() == "cpu":
        limit_host_memory(spec.memory_limit_bytes)
    elif spec.memory_limit_bytes:
        fraction = spec.memory_limit_bytes / accelerator.total_memory()
        torch.cuda.set_per_process_memory_fraction(min(fraction, 1.0))
