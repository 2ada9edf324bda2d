"""Layers that the families share; each initialises itself while it is built.

Under ZeRO-3 a module's parameters are partitioned when its ``__init__`` returns, and gathered
around its ``forward``. So no layer here initialises or reads a parameter of another one.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INIT_STD = 0.02


def _draw_normal(weight: Tensor, std: float) -> None:
    """Fills ``weight`` in place.

    Drawn in float32 on the CPU and then copied, so that a seed gives the same weights whatever
    the dtype or device that the parameters are created in (``zero.Init`` creates them in 16 bits).
    """
    if weight.is_meta:  # shapes alone are wanted
        return
    with torch.no_grad():
        weight.copy_(torch.normal(0.0, std, tuple(weight.shape)))


class Linear(nn.Linear):
    """A linear layer with normal weights and no bias at first."""

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, std: float = INIT_STD
    ) -> None:
        self.init_std = std
        super().__init__(in_features, out_features, bias=bias)

    def reset_parameters(self) -> None:
        _draw_normal(self.weight, self.init_std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Embedding(nn.Embedding):
    """An embedding table that also serves as the output projection.

    Both uses go through ``forward``, so that hooks on the module (ZeRO-3 gathers the partitioned
    table there) act on both.
    """

    def reset_parameters(self) -> None:
        _draw_normal(self.weight, INIT_STD)

    def forward(self, input: Tensor, project: bool = False) -> Tensor:
        return F.linear(input, self.weight) if project else super().forward(input)


def project(table: Embedding, x: Tensor) -> Tensor:
    """Logits (batch, length, vocabulary) of ``x`` (batch, length, width) by a tied table."""
    return table(x, project=True)


class PositionAware(nn.Module):
    """A layer that must know where in the whole sequence its input stands.

    Where ranks share a sequence, ``sequence_index`` says which of the equal contiguous slices
    this rank is given.
    """

    sequence_index = 0

    def first_position(self, x: Tensor) -> int:
        """Of ``x`` (batch, length, ...)."""
        return self.sequence_index * x.shape[1]


class Positions(PositionAware):
    """Adds a learned embedding of the position to ``x`` (batch, length, width), then may norm it."""

    def __init__(self, *, max_positions: int, width: int, norm_eps: float | None = None) -> None:
        super().__init__()
        self.table = Embedding(max_positions, width)
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(width, norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first_position(x)
        positions = torch.arange(first, first + x.shape[1], device=x.device)
        return self.norm(x + self.table(positions))


def rotate(x: Tensor, *, first_position: int, base: float) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of ``x`` (batch, length, heads, head_dim).

    Feature i turns with feature ``i + head_dim / 2``, as in the Hugging Face weights of Llama.
    """
    cosine, sine = _rotary_table(
        x.shape[1], first_position, x.shape[3], base, device=x.device, dtype=x.dtype
    )
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


# Cached, since every block asks for the same table, and not a buffer: that would be rounded to
# 16 bits together with the weights, angles and all.
@functools.lru_cache(maxsize=4)
def _rotary_table(
    length: int,
    first_position: int,
    head_dim: int,
    base: float,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (length, 1, head_dim / 2)."""
    positions = torch.arange(first_position, first_position + length, device=device)
    pairs = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32)
    angles = (positions[:, None].float() * base ** (-pairs / head_dim)).unsqueeze(1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def head_width(width: int, heads: int) -> int:
    """Of one attention head."""
    if width % heads:
        raise ValueError(f"width={width} is not a multiple of heads={heads}")
    return width // heads


class AttentionCore(nn.Module):
    """Attention without its projections.

    Query, key, value and result are (batch, length, heads, head_dim). Key and value may have fewer
    heads, each of which serves a group of consecutive query heads (Ainslie et al. 2023).
    """

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor, batch_dim: int = 0) -> Tensor:
        """``batch_dim`` is always 0; DeepSpeed's DistributedAttention, which may stand here, asks for it."""
        group = query.shape[2] // key.shape[2]
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        options: dict[str, Any] = {}
        if group > 1 and query.is_cuda and query.dtype == torch.float32:
            # Of the CUDA kernels that do not hold the whole score matrix, only flash attention
            # knows groups, and it takes 16 bits.
            key, value = (part.repeat_interleave(group, dim=1) for part in (key, value))
        elif group > 1:
            options["enable_gqa"] = True
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal, **options)
        return mixed.transpose(1, 2)


class FusedAttention(nn.Module):
    """Multi-head attention whose query, key and value come from one projection, with biases."""

    def __init__(
        self, *, width: int, heads: int, causal: bool, output_std: float = INIT_STD
    ) -> None:
        super().__init__()
        self.head_dim = head_width(width, heads)
        self.core = AttentionCore(causal=causal)
        self.qkv = Linear(width, 3 * width)
        self.output = Linear(width, width, std=output_std)

    def forward(self, x: Tensor) -> Tensor:
        # (batch, length, 3 * width) -> three of (batch, length, heads, head_dim). The heads are
        # counted from the tensor: a tensor-parallel rank has its share of them.
        query, key, value = self.qkv(x).unflatten(2, (3, -1, self.head_dim)).unbind(2)
        return self.output(self.core(query, key, value, 0).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between; ``approximate`` is that of ``torch.nn.functional.gelu``."""

    def __init__(
        self, *, width: int, hidden_width: int, approximate: str, output_std: float = INIT_STD
    ) -> None:
        super().__init__()
        self.approximate = approximate
        self.up = Linear(width, hidden_width)
        self.down = Linear(hidden_width, width, std=output_std)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate=self.approximate))


class Block(nn.Module):
    """One transformer block: attention, then a feed-forward layer, each behind a norm."""

    def __init__(
        self,
        *,
        attention_norm: nn.Module,
        attention: nn.Module,
        feed_forward_norm: nn.Module,
        feed_forward: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))
