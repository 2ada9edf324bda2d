"""One rank's training: builds the model, lets DeepSpeed take it, and has its steps measured."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import deepspeed
import torch
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator

from sweeper.core.spec import TrialSpec
from sweeper.places import models_dir
from sweeper.worker.batches import Batches
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.ledger import Ledger
from sweeper.worker.limits import count_file_pages_from_here, limit_host_memory
from sweeper.worker.machine import environment
from sweeper.worker.ops import adopt_built_ops
from sweeper.worker.progress import Progress
from sweeper.worker.steps import DivergedError, Steps


def train(spec: TrialSpec, progress: Progress) -> dict[str, Any]:
    """This rank's result. Exceptions are the caller's to record."""
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
    torch.manual_seed(spec.seed)
    model = _build(spec)
    progress.enter("initialize")
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=spec.ds_config
    )
    engine.train()
    batches = Batches(
        spec, vocab_size=model.vocab_size, rank=dist.get_rank(), device=str(engine.device)
    )
    ledger.close("build")
    count_file_pages_from_here()

    steps = Steps(engine, batches, progress)
    try:
        progress.enter("warm-up")
        warmup = steps.warm_up(spec)
        ledger.close("warm-up")
        progress.enter("measure")
        measured = steps.measure(spec)
        ledger.close("steady")
        progress.enter("break-down")
        breakdown = steps.break_down(spec)
    except DivergedError as error:
        return {"kind": "diverged", "phase": progress.phase, "reason": str(error)}
    finally:
        progress.enter("end")
    return {
        "kind": "measured",
        "step_seconds": measured,
        "warmup_step_seconds": warmup,
        "breakdown_seconds": breakdown,
        "skipped_steps": steps.num_skipped,
        "losses": steps.losses,
        "flops_per_step": _flops_per_step(model, spec),
        "memory": ledger.phases,
        "peak_device_allocated_bytes": ledger.largest("device_peak_allocated_bytes"),
        "peak_device_reserved_bytes": ledger.largest("device_peak_reserved_bytes"),
        "peak_host_resident_bytes": ledger.largest("host_peak_resident_bytes"),
        "phases_entered_at": progress.entered,
        "environment": environment(),
    }


def _flops_per_step(model: Any, spec: TrialSpec) -> float | None:
    """Of the whole global batch, where the model knows."""
    count = getattr(model, "flops_per_token", None)
    tokens = spec.global_batch_size * spec.sequence_length
    return None if count is None else float(count(spec.sequence_length)) * tokens


def _check_support(spec: TrialSpec, accelerator: Any) -> None:
    name = accelerator.device_name()
    if name != spec.accelerator:
        raise UnsupportedHere(
            f"hardware.accelerator={spec.accelerator}, but DeepSpeed trains on {name} here"
        )
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


def _build(spec: TrialSpec) -> Any:
    """The model; under ``zero.Init`` at stage 3, where no rank could hold it whole."""
    stage3 = spec.ds_config["zero_optimization"]["stage"] == 3
    context = (
        deepspeed.zero.Init(config_dict_or_path=spec.ds_config)
        if stage3
        else contextlib.nullcontext()
    )
    with context:
        model = _factory(spec.model_target)(**spec.model_arguments)
    if spec.checkpointing != "none":
        model.checkpoint_blocks = True
    return model


def _factory(target: str) -> Callable[..., Any]:
    """``"package.module.function"`` -> the function."""
    module_name, _, name = target.rpartition(".")
    if (
        module_name.startswith("sweeper.models.")
        and importlib.util.find_spec("sweeper.models") is None
    ):
        _adopt_models_folder()
    factory: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
    return factory


def _adopt_models_folder() -> None:
    """In a checkout ``models/`` stands beside the package; a wheel has it inside."""
    path = models_dir()
    spec = importlib.util.spec_from_file_location(
        "sweeper.models", path / "__init__.py", submodule_search_locations=[str(path)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweeper.models"] = module
    spec.loader.exec_module(module)
