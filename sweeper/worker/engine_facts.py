"""What an engine that DeepSpeed has made is, and whether its model recomputes activations: asked, not read."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch.utils.checkpoint as torch_checkpointing
from deepspeed.runtime.activation_checkpointing import checkpointing as ds_checkpointing

from sweeper.core.engine_check import contradictions, optimizer_family
from sweeper.worker.failures import UnsupportedHere


def facts_of_engine(engine: Any) -> dict[str, Any]:
    """Under the names of ``core.engine_check``."""
    stage = int(engine.zero_optimization_stage())
    return {
        "zero.stage": stage,
        "offload.optimizer": _optimizer_device(engine, stage),
        "offload.params": _device(engine.zero_offload_param()) if stage == 3 else "none",
        "precision.mode": _precision(engine),
        "batch.micro_size": int(engine.train_micro_batch_size_per_gpu()),
        "accumulation steps": int(engine.gradient_accumulation_steps()),
        "data-parallel ranks": _data_parallel(engine),
        "optimizer": _optimizer(engine),
        "dtypes": dtypes_of(engine.module),
    }


def dtypes_of(model: Any) -> list[str]:
    """Of its floating-point parameters."""
    dtypes = {str(p.dtype) for p in model.parameters() if p.is_floating_point()}
    return sorted(name.removeprefix("torch.") for name in dtypes)


def _data_parallel(engine: Any) -> int:
    """By its process group: the batch of a tensor-parallel engine counts all ranks (DeepSpeed 0.19.8)."""
    if (ranks := getattr(engine, "dp_world_size", None)) is not None:
        return int(ranks)
    passes = engine.train_micro_batch_size_per_gpu() * engine.gradient_accumulation_steps()
    return int(engine.train_batch_size() // passes)


def _precision(engine: Any) -> str | None:
    if engine.fp16_enabled():
        return "fp16"
    if engine.bfloat16_enabled():
        return "bf16"
    if engine.torch_autocast_enabled():
        dtype = engine.torch_autocast_dtype()
        return None if dtype is None else "autocast_" + _SHORT.get(str(dtype), str(dtype))
    return "fp32"


_SHORT = {"torch.bfloat16": "bf16", "torch.float16": "fp16"}


def _device(section: Any) -> str:
    device = None if section is None else section.device
    return str(getattr(device, "value", device) or "none")


def _optimizer_device(engine: Any, stage: int) -> str:
    """NVMe below stage 3 is the CPU; a ZeRO optimizer says itself whether it offloads."""
    if stage == 0:
        return "none"
    named = _device(engine.zero_offload_optimizer())
    device = "cpu" if named == "nvme" and stage < 3 else named
    offloads = getattr(engine.optimizer, "offload_optimizer" if stage == 3 else "cpu_offload", None)
    if offloads is None:
        return device
    return (device if device != "none" else "cpu") if offloads else "none"


def _optimizer(engine: Any) -> str | None:
    basic = getattr(engine, "basic_optimizer", None)
    return None if basic is None else optimizer_family(type(basic).__name__)


def check_engine(expected: Mapping[str, Any], engine: Any) -> None:
    """Raises UnsupportedHere where the engine is another one than the label says."""
    refuse(contradictions(expected, facts_of_engine(engine)))


def refuse(found: list[str]) -> None:
    """Raises UnsupportedHere for contradictions."""
    if found:
        raise UnsupportedHere(f"not measured as what it is not: {'; '.join(found)}")


class Recomputation:
    """Counts how often activations are recomputed by torch's or DeepSpeed's checkpointing, whoever calls it."""

    def __init__(self) -> None:
        self.count = 0

    def watch(self) -> None:
        """From here on; each way ends in one of these."""
        self._count_calls_of(torch_checkpointing.CheckpointFunction, "forward")
        self._count_calls_of(torch_checkpointing, "_checkpoint_without_reentrant_generator")
        self._count_calls_of(ds_checkpointing.CheckpointFunction, "forward")
        self._count_calls_of(ds_checkpointing, "non_reentrant_checkpoint")

    def _count_calls_of(self, owner: Any, name: str) -> None:
        original = getattr(owner, name, None)
        if original is None:
            return

        @functools.wraps(original)
        def counted(*positional: Any, **named: Any) -> Any:
            self.count += 1
            return original(*positional, **named)

        setattr(owner, name, staticmethod(counted) if isinstance(owner, type) else counted)
