"""What all families are: a chain of parts that ends in a loss, and the model that runs it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .layers import Block, Embedding, Linear, PositionAware, project

_EXPERT = r"feed_forward(\.experts\.\d+)?"

# DeepSpeed's ``tensor_parallel.partition_config``, for the names that the layers have in every
# family. Column layers keep their share of heads or hidden features, row layers sum over them.
_TENSOR_PARALLEL_PLAN: dict[str, Any] = {
    "use_default_specs": False,
    "layer_specs": [
        {
            # Query, key and value lie one after the other: each is cut by itself.
            "patterns": [r".*\.attention\.qkv\.weight$"],
            "partition_type": "column",
            "shape": [3, -1],
            "partition_dim": 0,
        },
        {
            "patterns": [
                r".*\.attention\.(query|key|value)\.weight$",
                rf".*\.{_EXPERT}\.(up|up_gate)\.weight$",
            ],
            "partition_type": "column",
        },
        {
            "patterns": [r".*\.attention\.output\.weight$", rf".*\.{_EXPERT}\.down\.weight$"],
            "partition_type": "row",
        },
        {
            "patterns": [r"(embedding|head)\.", r".*\.feed_forward\.gate\.weight$"],
            "partition_type": "skip",
        },
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A link of the chain: what it is built from, and how it is used.

    Parts with the same ``tied`` name share one module, that of the first of them. ``forward``
    stands for the module's own, as ``forward(module, x)``.
    """

    cls: type[nn.Module]
    arguments: dict[str, Any]
    tied: str | None = None
    forward: Callable[[Any, Tensor], Tensor] | None = None

    @property
    def is_block(self) -> bool:
        return issubclass(self.cls, Block)

    def build(self) -> nn.Module:
        return self.cls(**self.arguments)

    def run(self, module: nn.Module, x: Tensor) -> Tensor:
        return module(x) if self.forward is None else self.forward(module, x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A model before anything of it is built.

    Part 0 takes the inputs of ``split``, every other one the output tensor of the part before it;
    ``loss`` takes the last output and the labels of ``split``.
    """

    parts: tuple[Part, ...]
    split: Callable[[Tensor], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    vocab_size: int
    max_positions: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    num_parameters: int
    # Those that a token is multiplied with: no tables that are looked up, no idle experts
    num_parameters_per_token: int
    attention_width: int  # of all query heads
    slice_multiple: int = 1  # a slice of a shared sequence holds a multiple of so many positions

    def flops_per_token(self, length: int) -> float:
        """Of forward and backward at this sequence length: 6N + 12 * layers * width * length.

        PaLM (Chowdhery et al. 2022), appendix B. N is every parameter that is multiplied with: a
        tied token table counts once, as the output projection; positions are looked up. Causal
        sparsity and recomputation are not credited.
        """
        attention = 12.0 * self.num_layers * self.attention_width * length
        return 6.0 * self.num_parameters_per_token + attention


def chain(
    *,
    vocab_size: int,
    width: int,
    tied: bool,
    embedding: Sequence[Part] = (),
    blocks: Sequence[Part],
    head: Sequence[Part],
) -> tuple[Part, ...]:
    """Token table, the rest of the embedding, blocks, head, output projection (perhaps the table)."""
    name = "tokens" if tied else None
    table = {"num_embeddings": vocab_size, "embedding_dim": width}
    if tied:
        projection = Part(cls=Embedding, arguments=table, tied=name, forward=project)
    else:
        linear = {"in_features": width, "out_features": vocab_size, "bias": False}
        projection = Part(cls=Linear, arguments=linear)
    tokens = Part(cls=Embedding, arguments=table, tied=name)
    return (tokens, *embedding, *blocks, *head, projection)


def split_next_token(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids (batch, length + 1) -> inputs and labels, each (batch, length)."""
    return tokens[:, :-1], tokens[:, 1:]


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Of logits (batch, length, vocabulary) over the labels (batch, length) that are not -100."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


class LanguageModel(nn.Module):
    """A language model that returns its loss. This is what a training may rely on:

    **Shape.** ``vocab_size``, ``max_positions``, ``num_layers``, ``num_heads``, ``num_kv_heads``,
    ``num_parameters`` (from the shapes: ZeRO-3 partitions the parameters themselves) and
    ``flops_per_token(length)`` (forward and backward, active experts only).

    **Loss.** ``forward`` takes token ids (batch, length + 1) and returns a mean over equally many
    labels of each sample, so the mean of the micro-batches' losses is the global batch's loss.
    Causal models predict the last ``length`` tokens from the first; BERT says what it does.

    **Weights.** Part i of the chain draws its weights from the seed ``torch.initial_seed() + i``:
    a pipeline stage that seeds and builds only its own parts has the weights of the whole model.
    The seed is as it was afterwards, and torch's generators stand at its start.

    **Activation checkpointing.** With ``checkpoint_every=n`` the blocks 0, n, 2n, ... are computed
    again in the backward pass (0: none), with ``checkpoint_on_cpu`` their inputs wait on the CPU.

    **Pipeline.** ``parts()`` and ``part_modules()`` with ``split`` and ``loss``; without a built model, see ``Pipeline``
    and each family's ``pipeline(...)``, which takes the arguments of its ``build(...)``.

    **Tensor parallelism.** ``tensor_parallel_plan()``; attention counts its heads from its input.

    **Sequence parallelism.** With ``sequence_shard = (index, count)`` the model takes the whole
    tokens and computes on its contiguous slice of the length; its loss is that slice's mean.
    Every attention has a module ``core`` (see ``AttentionCore``), to be replaced by one that sees
    the full length.

    **Expert parallelism.** Where a block's ``feed_forward`` is a ``MixtureOfExperts``, it may be
    replaced.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.vocab_size = pipeline.vocab_size
        self.max_positions = pipeline.max_positions
        self.num_layers = pipeline.num_layers
        self.num_heads = pipeline.num_heads
        self.num_kv_heads = pipeline.num_kv_heads
        self.num_parameters = pipeline.num_parameters
        self.checkpoint_every = 0
        self.checkpoint_on_cpu = False
        self._sequence_shard = (0, 1)
        self.embedding = nn.ModuleList()
        self.blocks = nn.ModuleList()
        self.head = nn.ModuleList()
        # Where each part's module is. Not the module itself, since a child may be replaced.
        self._places: list[tuple[str, int]] = []
        self._build()

    def _build(self) -> None:
        seed = torch.initial_seed()
        shared: dict[str, tuple[str, int]] = {}
        for number, part in enumerate(self.pipeline.parts):
            if part.tied in shared:
                self._places.append(shared[part.tied])
                continue
            torch.manual_seed(seed + number)
            module = part.build()
            group = "head" if len(self.blocks) else "embedding"
            if part.is_block:
                group = "blocks"
            modules = getattr(self, group)
            modules.append(module)
            self._places.append((group, len(modules) - 1))
            if part.tied is not None:
                shared[part.tied] = self._places[-1]
        torch.manual_seed(seed)

    def parts(self) -> list[Part]:
        return list(self.pipeline.parts)

    def part_modules(self) -> list[nn.Module]:
        """The module of each of ``parts()``; tied ones have the same."""
        return [getattr(self, group)[index] for group, index in self._places]

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.pipeline.split(tokens)

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        return self.pipeline.loss(output, labels)

    def flops_per_token(self, length: int) -> float:
        return self.pipeline.flops_per_token(length)

    @staticmethod
    def tensor_parallel_plan() -> dict[str, Any]:
        """DeepSpeed's ``tensor_parallel.partition_config``; everything outside the blocks is replicated."""
        return copy.deepcopy(_TENSOR_PARALLEL_PLAN)

    @property
    def sequence_shard(self) -> tuple[int, int]:
        return self._sequence_shard

    @sequence_shard.setter
    def sequence_shard(self, shard: tuple[int, int]) -> None:
        self._sequence_shard = shard
        for module in self.modules():
            if isinstance(module, PositionAware):
                module.sequence_index = shard[0]

    def forward(self, tokens: Tensor) -> Tensor:
        x, labels = (self._own_slice(whole) for whole in self.split(tokens))
        for part, (group, index) in zip(self.pipeline.parts, self._places, strict=True):
            module = getattr(self, group)[index]
            if group == "blocks" and self._is_recomputed(index):
                x = self._recompute(module, x)
            else:
                x = part.run(module, x)
        return self.loss(x, labels)

    def _own_slice(self, whole: Tensor) -> Tensor:
        """This rank's share of (batch, length)."""
        index, count = self._sequence_shard
        length, rest = divmod(whole.shape[1], count)
        if count > 1 and (rest or length % self.pipeline.slice_multiple):
            raise ValueError(
                f"{whole.shape[1]} positions cannot be shared by {count} ranks: each needs a"
                f" multiple of {self.pipeline.slice_multiple}"
            )
        return whole[:, index * length : (index + 1) * length] if count > 1 else whole

    def _is_recomputed(self, block: int) -> bool:
        return self.training and self.checkpoint_every > 0 and block % self.checkpoint_every == 0

    def _recompute(self, block: nn.Module, x: Tensor) -> Tensor:
        # Pinned memory is what lets the copies run beside the computation.
        elsewhere = (
            torch.autograd.graph.save_on_cpu(pin_memory=x.is_cuda)
            if self.checkpoint_on_cpu
            else contextlib.nullcontext()
        )
        with elsewhere:
            output: Tensor = checkpoint(block, x, use_reentrant=False)
        return output
