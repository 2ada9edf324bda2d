"""What a Hugging Face architecture's config says of its size: patches, FLOPs."""

from __future__ import annotations

from typing import Any

from torch import nn

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width; a square has one size."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def flops_per_sample(model: Any, task: str, *, length: int, tokens: int) -> float | None:
    """Of forward and backward, as ``Pipeline.flops_per_token`` counts them; ``tokens`` are computed on.

    A frozen weight has no gradient of its own: four, not six, for each use. None where experts
    are idle, or the config does not name the sizes.
    """
    config = model.config
    layers, heads = (
        getattr(config, name, None) for name in ("num_hidden_layers", "num_attention_heads")
    )
    if not (isinstance(layers, int) and isinstance(heads, int)):  # Swin has one for each stage
        return None
    if any(hasattr(config, name) for name in _EXPERTS):
        return None
    head_width = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    width = heads * (head_width or config.hidden_size // heads)
    if task == "seq2seq":
        tokens = length  # each part has its own
        # One attention in a block of the encoder, two in one of the decoder
        layers = 2 * (getattr(config, "num_decoder_layers", None) or layers) + layers
    flops = 12.0 * layers * width * tokens**2
    for name, parameter in _multiplied(model):
        # An image has one class.
        uses = 1 if task == "image" and "classifier" in name else tokens
        flops += uses * _numel(parameter) * (6.0 if parameter.requires_grad else 4.0)
    return flops


def _multiplied(model: Any) -> list[tuple[str, nn.Parameter]]:
    """All but tables that are looked up; one that is the output projection too is multiplied with."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    kept = set() if head is None else set(head.parameters())
    tables = {
        parameter
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    return [(n, p) for n, p in model.named_parameters() if p not in tables or p in kept]


def _numel(parameter: nn.Parameter) -> int:
    """Also of one that is partitioned, which holds nothing itself."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
