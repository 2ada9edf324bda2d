"""What can be seen of a model that a user's script trains."""

from __future__ import annotations

from typing import Any

from torch import nn


def recomputes(model: Any) -> bool | None:
    """Whether activation checkpointing is on, where the model says so; None where it does not."""
    on = getattr(model, "is_activation_checkpointing", None)  # the name since transformers 5
    if on is None:
        on = getattr(model, "is_gradient_checkpointing", None)
    return None if on is None else bool(on)


def can_switch_recomputation(model: Any) -> bool:
    """Whether activation checkpointing can be switched on and off from outside."""
    return (
        hasattr(model, "gradient_checkpointing_enable")
        and hasattr(model, "gradient_checkpointing_disable")
        and bool(getattr(model, "supports_gradient_checkpointing", True))
    )


def has_dropout(model: Any) -> bool:
    """Then losses depend on how the batch is cut, not on the batch alone."""
    return isinstance(model, nn.Module) and any(
        isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        for module in model.modules()
    )


def has_batch_statistics(model: Any) -> bool:
    """Whether a sample's output depends on the others of its micro-batch."""
    return isinstance(model, nn.Module) and any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()
    )
