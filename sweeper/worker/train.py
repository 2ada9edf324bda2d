"""One rank's training: builds the model, lets DeepSpeed take it, and times whole optimizer steps."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
import sys
import time
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
from sweeper.worker.limits import limit_host_memory, peak_resident_bytes
from sweeper.worker.machine import environment
from sweeper.worker.ops import adopt_built_ops
from sweeper.worker.progress import Progress

MIN_MEASURED_STEPS = 3
MAX_SKIPPED_STEPS = 30  # by then dynamic loss scaling has come down by 2**30


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

    progress.enter("warm-up")
    steps = _Steps(engine, batches, accelerator.synchronize)
    for number in range(spec.warmup_steps):
        progress.step(number + 1, spec.warmup_steps)
        if steps.applied() is None:
            return _diverged(steps, progress)
    num_warmup = len(steps.seconds)
    progress.enter("measure")
    measured_seconds = 0.0
    for number in range(spec.measured_steps):
        if number >= MIN_MEASURED_STEPS and _agree(measured_seconds > spec.max_measure_seconds):
            break
        progress.step(number + 1, spec.measured_steps)
        seconds = steps.applied()
        if seconds is None:
            return _diverged(steps, progress)
        measured_seconds += seconds
    on_device = accelerator.device_name() != "cpu"
    return {
        "kind": "measured",
        "step_seconds": [s for s in steps.seconds[num_warmup:] if s is not None],
        "warmup_step_seconds": [s for s in steps.seconds[:num_warmup] if s is not None],
        "skipped_steps": steps.num_skipped,
        "losses": steps.losses,
        "peak_device_allocated_bytes": accelerator.max_memory_allocated() if on_device else None,
        "peak_device_reserved_bytes": accelerator.max_memory_reserved() if on_device else None,
        "peak_host_resident_bytes": peak_resident_bytes(),
        "phases_entered_at": progress.entered,
        "environment": environment(),
    }


class _Steps:
    """Runs optimizer steps one after the other over the batches.

    ``seconds`` has an entry for each step taken, None where loss scaling skipped it; ``losses``
    the mean loss of this rank's samples for each step that was applied.
    """

    def __init__(self, engine: Any, batches: Batches, synchronize: Callable[[], None]) -> None:
        self._engine = engine
        self._batches = batches
        self._synchronize = synchronize
        self._batch_number = 0
        self.seconds: list[float | None] = []
        self.losses: list[float] = []
        self.num_skipped = 0

    def applied(self) -> float | None:
        """Takes steps until the optimizer applied one; its seconds, or None if that never happens."""
        for _ in range(MAX_SKIPPED_STEPS):
            skipped_before = self._engine.skipped_steps
            seconds, loss = self._step()
            if self._engine.skipped_steps > skipped_before:
                self.num_skipped += 1
                self.seconds.append(None)
                continue
            self.seconds.append(seconds)
            self.losses.append(loss)
            return seconds if math.isfinite(loss) else None
        return None

    def _step(self) -> tuple[float, float]:
        dist.barrier()  # ranks start together; what one waits for another inside is its time
        self._synchronize()
        start = time.perf_counter()
        losses = []
        for tokens in self._batches.micro_batches(self._batch_number):
            loss = self._engine(tokens)
            self._engine.backward(loss)
            self._engine.step()
            losses.append(loss.detach())
        self._synchronize()
        seconds = time.perf_counter() - start
        self._batch_number += 1
        return seconds, float(torch.stack(losses).float().mean())


def _agree(condition: bool) -> bool:
    """Rank 0's answer, on every rank: clocks differ, and a rank that stops alone hangs the others."""
    answer = torch.tensor([int(condition)], device=get_accelerator().current_device_name())
    dist.broadcast(answer, src=0)
    return bool(answer.item())


def _diverged(steps: _Steps, progress: Progress) -> dict[str, Any]:
    if steps.losses and not math.isfinite(steps.losses[-1]):
        reason = f"the loss became {steps.losses[-1]} in step {len(steps.losses)}"
    else:
        reason = f"loss scaling skipped {steps.num_skipped} steps, none in a row of {MAX_SKIPPED_STEPS} was applied"
    return {
        "kind": "diverged",
        "phase": progress.phase,
        "reason": reason,
        "losses": [repr(x) for x in steps.losses],
    }


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
