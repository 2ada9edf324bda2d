"""Llama 3 (Grattafiori et al. 2024), a causal language model.

Pre-norm blocks with RMSNorm, rotary positions, grouped-query attention and SwiGLU, no biases. The
weights are random, so the frequency scaling by which Llama 3.1 and 3.2 stretch a trained 8k context
is left out; it costs no time.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .language_model import LanguageModel, Part, Pipeline, chain, mean_loss, split_next_token
from .layers import AttentionCore, Block, Linear, PositionAware, head_width, rotate

NORM_EPS = 1e-5


class GroupedQueryAttention(PositionAware):
    """Causal attention with rotary positions; ``kv_heads`` keys and values serve all query heads."""

    def __init__(self, *, width: int, heads: int, kv_heads: int, rotary_base: float) -> None:
        super().__init__()
        self.head_dim = head_width(width, heads)
        self.rotary_base = rotary_base
        self.core = AttentionCore(causal=True)
        self.query = Linear(width, width, bias=False)
        self.key = Linear(width, kv_heads * self.head_dim, bias=False)
        self.value = Linear(width, kv_heads * self.head_dim, bias=False)
        self.output = Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # Three of (batch, length, heads, head_dim). The heads are counted from the tensor: a
        # tensor-parallel rank has its share of them.
        query, key, value = (
            layer(x).unflatten(2, (-1, self.head_dim))
            for layer in (self.query, self.key, self.value)
        )
        query, key = (
            rotate(part, first_position=self.first_position(x), base=self.rotary_base)
            for part in (query, key)
        )
        return self.output(self.core(query, key, value, 0).flatten(2))


class SwiGLU(nn.Module):
    """A feed-forward layer gated by a SiLU (Shazeer 2020)."""

    def __init__(self, *, width: int, hidden_width: int) -> None:
        super().__init__()
        self.up_gate = Linear(width, hidden_width, bias=False)
        self.up = Linear(width, hidden_width, bias=False)
        self.down = Linear(hidden_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.up_gate(x)) * self.up(x))


class LlamaBlock(Block):
    def __init__(
        self,
        *,
        width: int,
        heads: int,
        kv_heads: int,
        feed_forward_width: int,
        rotary_base: float,
    ) -> None:
        super().__init__(
            attention_norm=nn.RMSNorm(width, NORM_EPS),
            attention=GroupedQueryAttention(
                width=width, heads=heads, kv_heads=kv_heads, rotary_base=rotary_base
            ),
            feed_forward_norm=nn.RMSNorm(width, NORM_EPS),
            feed_forward=SwiGLU(width=width, hidden_width=feed_forward_width),
        )


def pipeline(
    *,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    feed_forward_width: int,
    vocab_size: int = 128256,
    max_positions: int = 131072,
    rotary_base: float = 500000.0,
    tied: bool = False,
) -> Pipeline:
    """The chain of parts, of which a pipeline stage builds its own."""
    kv_width = kv_heads * head_width(width, heads)
    if heads % kv_heads:
        raise ValueError(f"heads={heads} is not a multiple of kv_heads={kv_heads}")
    block = Part(
        cls=LlamaBlock,
        arguments={
            "width": width,
            "heads": heads,
            "kv_heads": kv_heads,
            "feed_forward_width": feed_forward_width,
            "rotary_base": rotary_base,
        },
    )
    block_parameters = (2 * width + 2 * kv_width + 3 * feed_forward_width + 2) * width
    multiplied = vocab_size * width + layers * block_parameters + width
    return Pipeline(
        parts=chain(
            vocab_size=vocab_size,
            width=width,
            tied=tied,
            blocks=[block] * layers,
            head=[Part(cls=nn.RMSNorm, arguments={"normalized_shape": width, "eps": NORM_EPS})],
        ),
        split=split_next_token,
        loss=mean_loss,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        num_parameters=multiplied + (0 if tied else vocab_size * width),
        num_parameters_per_token=multiplied,
        attention_width=width,
    )


def build(
    *,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    feed_forward_width: int,
    vocab_size: int = 128256,
    max_positions: int = 131072,
    rotary_base: float = 500000.0,
    tied: bool = False,
) -> LanguageModel:
    """The model that ``conf/model/llama*.yaml`` name, with random weights from torch's seed.

    ``tied`` makes the token embedding the output projection too.
    """
    return LanguageModel(pipeline(**locals()))
