"""A small Llama whose feed-forward layers are mixtures of experts, as in Mixtral (Jiang et al. 2024).

No token is dropped. The training loss has no auxiliary term for an even load: such a term is not
linear in the tokens, so the losses of micro-batches would not average to that of the global batch.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import llama
from .language_model import LanguageModel, Part, Pipeline
from .layers import Block, Linear


class Gate(Linear):
    """Logits (tokens, experts) in float32, whatever the precision around: routing is a rank order."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.float(), self.weight.float())


class MixtureOfExperts(nn.Module):
    """Sends every token of ``x`` (batch, length, width) through its ``top_k`` likeliest experts.

    The weight of an expert is, with one for each token, the softmax probability of it (Fedus et
    al. 2021); with two, the probabilities divided by their sum (Lepikhin et al. 2020). That is what
    DeepSpeed's gating computes without dropping, noise and random token selection.
    """

    def __init__(self, *, width: int, hidden_width: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.top_k = top_k
        self.gate = Gate(width, num_experts, bias=False)
        self.experts = nn.ModuleList(
            llama.SwiGLU(width=width, hidden_width=hidden_width) for _ in range(num_experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        weights, chosen = self.gate(tokens).softmax(dim=1).topk(self.top_k, dim=1)
        if self.top_k > 1:
            sums = weights.sum(dim=1, keepdim=True)
            weights = weights / sums.clamp(min=torch.finfo(sums.dtype).eps)
        # A route is a token's way to one expert: sorted by expert, each computes one contiguous
        # share. One that nobody chose computes too, on no tokens, because the ranks of a ZeRO-3
        # training must gather the same parameters in the same order.
        order = chosen.flatten().argsort(stable=True)
        counts = chosen.flatten().bincount(minlength=self.num_experts).tolist()
        shares = tokens.index_select(0, order // self.top_k).split(counts)
        computed = torch.cat([e(s) for e, s in zip(self.experts, shares, strict=True)])
        routed = computed.index_select(0, order.argsort()).unflatten(0, (-1, self.top_k))
        return (routed * weights.unsqueeze(2)).sum(dim=1).to(computed.dtype).view_as(x)


class MixtureBlock(Block):
    def __init__(
        self,
        *,
        width: int,
        heads: int,
        kv_heads: int,
        feed_forward_width: int,
        rotary_base: float,
        experts: int,
        top_k: int,
    ) -> None:
        super().__init__(
            attention_norm=nn.RMSNorm(width, llama.NORM_EPS),
            attention=llama.GroupedQueryAttention(
                width=width, heads=heads, kv_heads=kv_heads, rotary_base=rotary_base
            ),
            feed_forward_norm=nn.RMSNorm(width, llama.NORM_EPS),
            feed_forward=MixtureOfExperts(
                width=width, hidden_width=feed_forward_width, num_experts=experts, top_k=top_k
            ),
        )


def pipeline(
    *,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    feed_forward_width: int,
    experts: int,
    top_k: int,
    vocab_size: int = 32000,
    max_positions: int = 4096,
    rotary_base: float = 10000.0,
    tied: bool = False,
) -> Pipeline:
    """The chain of parts, of which a pipeline stage builds its own."""
    if not 1 <= top_k <= min(2, experts):
        raise ValueError(f"top_k={top_k} is neither 1 nor 2, or more than experts={experts}")
    # The Llama with one expert for each token, and what the other experts and the gates add
    dense = llama.pipeline(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        feed_forward_width=feed_forward_width,
        vocab_size=vocab_size,
        max_positions=max_positions,
        rotary_base=rotary_base,
        tied=tied,
    )
    expert, gate = 3 * feed_forward_width * width, experts * width
    choice = {"experts": experts, "top_k": top_k}
    return dataclasses.replace(
        dense,
        parts=tuple(
            Part(cls=MixtureBlock, arguments=part.arguments | choice)
            if part.cls is llama.LlamaBlock
            else part
            for part in dense.parts
        ),
        num_parameters=dense.num_parameters + layers * ((experts - 1) * expert + gate),
        num_parameters_per_token=dense.num_parameters_per_token
        + layers * ((top_k - 1) * expert + gate),
    )


def build(
    *,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    feed_forward_width: int,
    experts: int,
    top_k: int,
    vocab_size: int = 32000,
    max_positions: int = 4096,
    rotary_base: float = 10000.0,
    tied: bool = False,
) -> LanguageModel:
    """The model that ``conf/model/moe*.yaml`` name, with random weights from torch's seed.

    ``feed_forward_width`` is that of one expert; ``top_k`` experts compute each token.
    """
    return LanguageModel(pipeline(**locals()))
