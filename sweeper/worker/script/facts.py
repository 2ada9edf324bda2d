"""What can be seen of a user's script: what it trains, and what it has decided itself."""

from __future__ import annotations

from typing import Any

from torch import nn

from sweeper.worker.script.substitution import finite


def facts_of_engine(engine: Any, own: dict[str, Any]) -> dict[str, Any]:
    """``own`` is the configuration that the script gave."""
    micro_size, accumulation_steps = (
        engine.train_micro_batch_size_per_gpu(),
        engine.gradient_accumulation_steps(),
    )
    dtypes = {str(p.dtype) for p in engine.module.parameters() if p.is_floating_point()}
    return {
        "config": finite(own),
        "micro_size": micro_size,
        "accumulation_steps": accumulation_steps,
        "data_parallel": engine.train_batch_size() // (micro_size * accumulation_steps),
        "dtypes": sorted(name.removeprefix("torch.") for name in dtypes),
    }


def recomputes(model: Any) -> bool | None:
    """Whether activations are checkpointed; None where that cannot be switched from outside."""
    if not hasattr(model, "gradient_checkpointing_enable"):
        return None
    if not getattr(model, "supports_gradient_checkpointing", True):
        return None
    on = getattr(model, "is_activation_checkpointing", None)  # the name since transformers 5
    return bool(getattr(model, "is_gradient_checkpointing", False) if on is None else on)


def has_dropout(model: Any) -> bool:
    """Then losses depend on how the batch is cut, not on the batch alone."""
    return isinstance(model, nn.Module) and any(
        isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        for module in model.modules()
    )
