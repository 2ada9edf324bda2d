"""GPT-2 (Radford et al. 2019) as a causal language model that returns its loss.

The layout and the initialisation are those of the published model: pre-norm blocks, learned
positions, GELU with the tanh approximation, output weights tied to the token embedding, normal
initialisation with standard deviation 0.02, residual projections scaled by ``1/sqrt(2 * layers)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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
    """A linear layer that initialises itself while it is built: ZeRO-3 partitions it right after."""

    def __init__(self, in_features: int, out_features: int, std: float = INIT_STD) -> None:
        self.init_std = std
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        _draw_normal(self.weight, self.init_std)
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


class Block(nn.Module):
    """One transformer block: attention, then a feed-forward layer, each behind a norm."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        residual_std = INIT_STD / (2 * layers) ** 0.5
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention_in = Linear(width, 3 * width)
        self.attention_out = Linear(width, width, residual_std)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_in = Linear(width, 4 * width)
        self.feed_forward_out = Linear(4 * width, width, residual_std)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.attention_in(self.attention_norm(x))
        # (batch, length, 3 * width) -> three of (batch, heads, length, width / heads)
        query, key, value = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in qkv.split(width, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        hidden = F.gelu(self.feed_forward_in(self.feed_forward_norm(x)), approximate="tanh")
        return x + self.feed_forward_out(hidden)


class GPT2(nn.Module):
    """``forward`` takes token ids of shape (batch, length + 1) and returns the mean loss.

    The first ``length`` tokens are the input and the last ``length`` the labels.
    """

    def __init__(
        self, *, layers: int, width: int, heads: int, vocab_size: int, max_positions: int
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} is not a multiple of heads={heads}")
        self.vocab_size = vocab_size
        self.max_positions = max_positions
        self.width = width
        self.checkpoint_blocks = False
        self.token_embedding = Embedding(vocab_size, width)
        self.position_embedding = Embedding(max_positions, width)
        self.blocks = nn.ModuleList(Block(width, heads, layers) for _ in range(layers))
        self.final_norm = nn.LayerNorm(width)
        # From the shapes: ZeRO-3 has partitioned the parameters themselves by now.
        block = 12 * width * width + 13 * width
        self.num_parameters = (vocab_size + max_positions) * width + layers * block + 2 * width

    def flops_per_token(self, length: int) -> float:
        """Of forward and backward at this sequence length: 6N + 12 * layers * width * length.

        PaLM (Chowdhery et al. 2022), appendix B. N is every parameter that is multiplied with: the
        token table counts once, as the output projection; positions are looked up. Causal sparsity
        and recomputation are not credited.
        """
        multiplied = self.num_parameters - self.max_positions * self.width
        return 6.0 * multiplied + 12.0 * len(self.blocks) * self.width * length

    def forward(self, tokens: Tensor) -> Tensor:
        inputs, labels = tokens[:, :-1], tokens[:, 1:]
        positions = torch.arange(inputs.shape[1], device=inputs.device)
        x = self.token_embedding(inputs) + self.position_embedding(positions)
        for block in self.blocks:
            if self.checkpoint_blocks and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        logits = self.token_embedding(self.final_norm(x), project=True)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def build(
    *, layers: int, width: int, heads: int, vocab_size: int = 50257, max_positions: int = 1024
) -> GPT2:
    """The model that ``conf/model/gpt2*.yaml`` name, with random weights from torch's seed."""
    return GPT2(
        layers=layers,
        width=width,
        heads=heads,
        vocab_size=vocab_size,
        max_positions=max_positions,
    )
