"""What goes into a model, and how its loss comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

# A batch is a tensor, or a tuple or dict of tensors; a sample is an index of the first dimension.
MakeBatch = Callable[..., Any]
LossOf = Callable[[Any, Any], Tensor]


class NoTokens(Exception):
    """Token ids cannot be drawn for the model."""


def loss_of(model: Any, batch: Any, loss: LossOf | None = None) -> Tensor:
    """What the model, or the engine around it, makes of a batch: a scalar."""
    return loss_in(output_of(model, batch), batch, loss)


def output_of(model: Any, batch: Any) -> Any:
    """A dict goes in by its names, a tuple in its order."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple | list):
        return model(*batch)
    return model(batch)


def loss_in(output: Any, batch: Any, loss: LossOf | None) -> Any:
    """Without a ``loss(output, batch)`` the output is the loss, or has one."""
    if loss is not None:
        return loss(output, batch)
    if isinstance(output, Mapping):
        return output["loss"]
    return output if isinstance(output, Tensor) else output.loss


def batch_maker(model: Any, make_batch: MakeBatch | None) -> MakeBatch:
    """As it is given, the model's own, or one that draws token ids."""
    if make_batch is not None:
        return make_batch
    if getattr(model, "makes_batches", hasattr(model, "make_batch")):
        own: MakeBatch = model.make_batch
        return own
    vocab_size = getattr(model, "vocab_size", None)
    if vocab_size is None:
        raise NoTokens(
            "the model has no vocab_size, so no token ids can be drawn for it; name a function that"
            " makes batches: model._batch_=my_package.batch"
        )
    return TokenIds(vocab_size)


class TokenIds:
    """Draws token ids (samples, length + 1)."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def __call__(self, *, samples: int, length: int, generator: torch.Generator) -> Tensor:
        # Small ids are drawn more often, as words are, so that a training that works shows.
        uniform = torch.rand((samples, length + 1), generator=generator)
        return (uniform.pow(3) * self.vocab_size).long()


def mapped(batch: Any, function: Callable[[Tensor], Any]) -> Any:
    """The batch with each of its tensors changed."""
    if isinstance(batch, Mapping):
        return {name: function(tensor) for name, tensor in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(function(tensor) for tensor in batch)
    return function(batch)


def tokens_per_sample(model: Any, length: int) -> int:
    """As the model counts them; text has as many as it is long."""
    own = getattr(model, "tokens_per_sample", None)
    return length if own is None else int(own(length))


def flops_per_sample(model: Any, length: int) -> float | None:
    """Of forward and backward; None where the model does not know."""
    for name, factor in (("flops_per_sample", 1), ("flops_per_token", length)):
        own = getattr(model, name, None)
        if own is not None:
            flops = own(length)
            return None if flops is None else float(flops) * factor
    return None
