"""BERT (Devlin et al. 2018), an encoder trained to fill in masked tokens.

Post-norm blocks, learned positions and GELU as published. Left out are what a masked language model
of one segment does not need: segment embeddings and the pooler, and the output bias, which would
cost another pass over the logits.

One position of each consecutive run of eight is replaced by the mask, which is the last token of
the vocabulary (the published training masks 15 %). A hash of the run's tokens and place chooses it,
so that neither rank, micro-batch nor random state matters; a shorter last run has a mask as well.
The loss is the mean over the masked positions, equally many in each sample.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .language_model import LanguageModel, Part, Pipeline, chain, mean_loss
from .layers import Block, FeedForward, FusedAttention, Linear, Positions, head_width

NORM_EPS = 1e-12
RUN = 8  # positions of which one is masked
IGNORED = -100


class BertBlock(Block):
    """As published, each norm stands behind its sum."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__(
            attention=FusedAttention(width=width, heads=heads, causal=False),
            attention_norm=nn.LayerNorm(width, NORM_EPS),
            feed_forward=FeedForward(width=width, hidden_width=4 * width, approximate="none"),
            feed_forward_norm=nn.LayerNorm(width, NORM_EPS),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x))
        return self.feed_forward_norm(x + self.feed_forward(x))


class Transform(nn.Module):
    """What BERT has between its last block and the output projection; keeps the shape."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.norm = nn.LayerNorm(width, NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(x)))


def split_masked(tokens: Tensor, *, mask_id: int) -> tuple[Tensor, Tensor]:
    """Token ids (batch, length + 1) -> inputs and labels (batch, length); the last token is unused.

    Labels are -100 where nothing is masked.
    """
    tokens = tokens[:, :-1]
    length = tokens.shape[1]
    positions = torch.arange(length, device=tokens.device)
    masked = _masked_positions(tokens).repeat_interleave(RUN, dim=1)[:, :length] == positions
    return tokens.masked_fill(masked, mask_id), tokens.masked_fill(~masked, IGNORED)


def _masked_positions(tokens: Tensor) -> Tensor:
    """Of token ids (batch, length), the masked position of each run: (batch, runs)."""
    length = tokens.shape[1]
    starts = torch.arange(0, length, RUN, device=tokens.device)
    places = torch.arange(len(starts) * RUN, device=tokens.device)
    # Multiplicative hashing (Knuth), kept to 32 bits: the products must fit 64 with their sign.
    factors = (2 * places + 1) * 0x9E3779B1 & 0x7FFFFFFF
    terms = F.pad(tokens + 1, (0, len(places) - length)) * factors
    hashes = terms.unflatten(1, (-1, RUN)).sum(dim=2) & 0xFFFFFFFF
    hashes = (hashes ^ (hashes >> 15)) * 0x45D9F3B & 0xFFFFFFFF
    return starts + (hashes ^ (hashes >> 16)) % (length - starts).clamp(max=RUN)


def pipeline(
    *, layers: int, width: int, heads: int, vocab_size: int = 30522, max_positions: int = 512
) -> Pipeline:
    """The chain of parts, of which a pipeline stage builds its own."""
    head_width(width, heads)  # refuses what does not divide
    positions = {"max_positions": max_positions, "width": width, "norm_eps": NORM_EPS}
    transform = (width + 3) * width
    multiplied = vocab_size * width + 2 * width + layers * (12 * width + 13) * width + transform
    return Pipeline(
        parts=chain(
            vocab_size=vocab_size,
            width=width,
            tied=True,
            embedding=[Part(cls=Positions, arguments=positions)],
            blocks=[Part(cls=BertBlock, arguments={"width": width, "heads": heads})] * layers,
            head=[Part(cls=Transform, arguments={"width": width})],
        ),
        split=functools.partial(split_masked, mask_id=vocab_size - 1),
        loss=mean_loss,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        num_parameters=multiplied + max_positions * width,
        num_parameters_per_token=multiplied,
        attention_width=width,
        slice_multiple=RUN,
    )


def build(
    *, layers: int, width: int, heads: int, vocab_size: int = 30522, max_positions: int = 512
) -> LanguageModel:
    """The model that ``conf/model/bert*.yaml`` name, with random weights from torch's seed."""
    return LanguageModel(pipeline(**locals()))
