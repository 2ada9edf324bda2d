"""One rank's training: builds the model, lets DeepSpeed take it, and has its steps measured."""

from __future__ import annotations

import os
from typing import Any

import deepspeed
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator

from sweeper.core.engine_check import contradictions, expected_of, optimizer_family
from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder
from sweeper.core.spec import TrialSpec
from sweeper.worker.batches import Batches
from sweeper.worker.building import Training, build
from sweeper.worker.engine_facts import Recomputation, check_engine, refuse
from sweeper.worker.feed import flops_per_sample, tokens_per_sample
from sweeper.worker.ledger import Ledger
from sweeper.worker.limits import count_file_pages_from_here
from sweeper.worker.ops import adopt_built_ops
from sweeper.worker.progress import Progress
from sweeper.worker.result import measured_result
from sweeper.worker.share import bind_cores, check_support, limit_memory
from sweeper.worker.steps import DivergedError, Steps


def train(spec: TrialSpec, folder: TrialFolder, progress: Progress) -> dict[str, Any]:
    """This rank's result. Exceptions are the caller's to record."""
    bind_cores(spec)
    accelerator = get_accelerator()
    check_support(spec, accelerator)
    progress.enter("connect")
    adopt_built_ops(spec.ops)
    if spec.accelerator != "cpu":
        accelerator.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed(dist_backend=accelerator.communication_backend_name())
    limit_memory(spec, accelerator)
    ledger = Ledger(accelerator)

    progress.enter("build")
    recomputation = Recomputation()
    recomputation.watch()
    training = build(spec, lambda: progress.enter("initialize"))
    check_engine(_label_of(spec), training.engine)
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
    progress.device_bytes = ledger.largest("device_peak_reserved_bytes")
    try:
        progress.enter("warm-up")
        warmup = steps.warm_up(spec)
        _check_recomputation(spec, recomputation)
        ledger.close("warm-up")
        progress.device_bytes = ledger.largest("device_peak_reserved_bytes")
        progress.enter("measure")
        measured = steps.measure(spec)
        ledger.close("steady")
        progress.enter("break-down")
        breakdown = {} if steps.was_beaten else steps.break_down(spec)
    except DivergedError as error:
        return {"kind": "diverged", "phase": progress.phase, "reason": str(error)}
    progress.enter("end")
    return measured_result(
        beaten=steps.was_beaten,
        step_seconds=measured,
        warmup_step_seconds=warmup,
        breakdown_seconds=breakdown,
        skipped_steps=steps.num_skipped,
        losses=steps.losses,
        tokens_per_step=spec.global_batch_size
        * tokens_per_sample(training.model, spec.sequence_length),
        flops_per_step=_flops_per_step(training, spec),
        ledger=ledger,
        progress=progress,
    )


def _label_of(spec: TrialSpec) -> dict[str, Any]:
    """What the engine has to be; its optimizer is one of ours."""
    return {**expected_of(spec), "optimizer": optimizer_family(spec.ds_config["optimizer"]["type"])}


def _check_recomputation(spec: TrialSpec, seen: Recomputation) -> None:
    """Whether the steps did what the label says; a stage of a pipeline may have no block to do it in."""
    label = "full" if spec.checkpoint_every_nth_block else "none"
    if spec.pipeline_stages == 1 or label == "none":
        seen_as = "full" if seen.count else "none"
        refuse(contradictions({"checkpointing": label}, {"checkpointing": seen_as}))


def _flops_per_step(training: Training, spec: TrialSpec) -> float | None:
    """Of the whole global batch, where the model knows."""
    flops = flops_per_sample(training.model, spec.sequence_length)
    return None if flops is None else flops * spec.global_batch_size
