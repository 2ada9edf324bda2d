"""GPT-2 (Radford et al. 2019), a causal language model.

The layout and the initialisation are those of the published model: pre-norm blocks, learned
positions, GELU with the tanh approximation, output weights tied to the token embedding, normal
initialisation with standard deviation 0.02, residual projections scaled by ``1/sqrt(2 * layers)``.
"""

from __future__ import annotations

from torch import nn

from .language_model import LanguageModel, Part, Pipeline, chain, mean_loss, split_next_token
from .layers import INIT_STD, Block, FeedForward, FusedAttention, Positions, head_width


class GPT2Block(Block):
    def __init__(self, *, width: int, heads: int, layers: int) -> None:
        residual_std = INIT_STD / (2 * layers) ** 0.5
        super().__init__(
            attention_norm=nn.LayerNorm(width),
            attention=FusedAttention(
                width=width, heads=heads, causal=True, output_std=residual_std
            ),
            feed_forward_norm=nn.LayerNorm(width),
            feed_forward=FeedForward(
                width=width, hidden_width=4 * width, approximate="tanh", output_std=residual_std
            ),
        )


def pipeline(
    *, layers: int, width: int, heads: int, vocab_size: int = 50257, max_positions: int = 1024
) -> Pipeline:
    """The chain of parts, of which a pipeline stage builds its own."""
    head_width(width, heads)  # refuses what does not divide
    block = Part(cls=GPT2Block, arguments={"width": width, "heads": heads, "layers": layers})
    positions = {"max_positions": max_positions, "width": width}
    multiplied = vocab_size * width + layers * (12 * width + 13) * width + 2 * width
    return Pipeline(
        parts=chain(
            vocab_size=vocab_size,
            width=width,
            tied=True,
            embedding=[Part(cls=Positions, arguments=positions)],
            blocks=[block] * layers,
            head=[Part(cls=nn.LayerNorm, arguments={"normalized_shape": width})],
        ),
        split=split_next_token,
        loss=mean_loss,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        num_parameters=multiplied + max_positions * width,
        num_parameters_per_token=multiplied,
        attention_width=width,
    )


def build(
    *, layers: int, width: int, heads: int, vocab_size: int = 50257, max_positions: int = 1024
) -> LanguageModel:
    """The model that ``conf/model/gpt2*.yaml`` name, with random weights from torch's seed."""
    return LanguageModel(pipeline(**locals()))
