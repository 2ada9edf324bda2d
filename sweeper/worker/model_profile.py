"""Traces a model on fake tensors, without a device or its weights, into a profile of its memory."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from sweeper.core.files import write_json
from sweeper.core.model_profile import TRACED_MODES, Activations, Extent, ModelProfile
from sweeper.worker.building import function_named
from sweeper.worker.feed import LossOf, MakeBatch, batch_maker, loss_of, mapped
from sweeper.worker.limits import limit_growth
from sweeper.worker.memory_trace import trace

# (samples, tokens) around which a trace is made: so few that weights are the largest tensors, so many
# that activations are. Between the two a peak is the larger of both.
BATCHES = ((1, 16), (64, 256))
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "autocast_bf16": torch.float32}


Sizes = tuple[tuple[int, int], ...]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The modules that a model repeats: of all its lists the one with most parameters in alike ones."""
    best: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
            shapes = Counter(_shapes(child) for child in module)
            commonest = shapes.most_common(1)[0][0]
            alike = [child for child in module if _shapes(child) == commonest]
            if len(alike) > 1 and _numel(alike) > _numel(best):
                best = alike
    return best


def _shapes(module: nn.Module) -> tuple[Any, ...]:
    return (type(module), *(tuple(p.shape) for p in module.parameters()))


def _numel(modules: list[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def sizes_of(parameters: Iterable[nn.Parameter]) -> Sizes:
    """Elements of a parameter, and how many parameters have so many."""
    return tuple(sorted(Counter(p.numel() for p in parameters).items()))


def _extent(short: float, longer: float, double: float, samples: int, tokens: int) -> Extent:
    """Through what was found for (samples, tokens/2), (samples, tokens) and (2 samples, tokens)."""
    sample = (double - longer) / samples
    constant = longer - samples * sample
    if short == longer:  # images have no length
        return Extent(constant=constant, per_sample=sample, per_token=0.0, per_token_pair=0.0)
    half = (short - constant) / samples
    # half = c1 t/2 + c2 t^2/4 and sample = c1 t + c2 t^2
    pair = (sample - 2 * half) * 2 / tokens**2
    return Extent(constant=constant, per_token=sample / tokens - pair * tokens, per_token_pair=pair)


def activations(
    model: nn.Module, make_batch: MakeBatch, loss: LossOf | None, at: tuple[int, int], *, mode: str
) -> Activations:
    """Solved from three traces around ``at``: samples and tokens."""
    samples, tokens = at
    points = []
    for count, length in ((samples, tokens // 2), (samples, tokens), (2 * samples, tokens)):
        batch = fake_batch(make_batch, count, length, _DTYPES[mode])
        step = partial(loss_of, model, batch, loss)
        points.append(trace(model, blocks_of(model), step, autocast=mode == "autocast_bf16"))
    return Activations(
        **{
            f.name: _extent(*(p[f.name] for p in points), samples, tokens)
            for f in fields(Activations)
        }
    )


def fake_batch(make_batch: MakeBatch, samples: int, length: int, dtype: torch.dtype) -> Any:
    """A batch whose values are gone; made of real tensors, since it is the user's code that makes it."""
    with unset_fake_temporarily() as fake:
        real = make_batch(
            samples=samples, length=length, generator=torch.Generator().manual_seed(0)
        )
        real = mapped(real, lambda t: t.to(dtype) if t.is_floating_point() else t)
        return mapped(real, fake.from_tensor)


def profile(
    target: str, arguments: dict[str, Any], batch: str | None = None, loss: str | None = None
) -> ModelProfile:
    """Raises whatever the model raises where it cannot be built or run on fake tensors."""
    with FakeTensorMode():
        model: Any = function_named(target)(**arguments)
        model.train()
        if not all(parameter.requires_grad for parameter in model.parameters()):
            raise NotImplementedError("the memory of frozen parameters is not modelled")
        make_batch = batch_maker(model, batch and function_named(batch))
        blocks = blocks_of(model)
        positions = getattr(model, "max_positions", None)
        modes = {}
        for mode in TRACED_MODES:
            _cast(model, _DTYPES[mode])
            modes[mode] = tuple(
                activations(
                    model,
                    make_batch,
                    loss and function_named(loss),
                    (samples, min(tokens, positions or tokens)),
                    mode=mode,
                )
                for samples, tokens in BATCHES
            )
        first, last = _ends(model, blocks)
        return ModelProfile(
            num_parameters=sum(p.numel() for p in model.parameters()),
            parameter_sizes=sizes_of(model.parameters()),
            num_blocks=len(blocks),
            parameters_per_block=_numel(blocks[:1]),
            block_parameter_sizes=sizes_of(blocks[0].parameters()) if blocks else (),
            expert_parameters_per_block=_expert_parameters(blocks),
            largest_module_parameters=max(
                sum(p.numel() for p in module.parameters(recurse=False))
                for module in model.modules()
            ),
            first_stage_parameters=first,
            last_stage_parameters=last,
            max_positions=positions,
            vocab_size=getattr(model, "vocab_size", None),
            modes=modes,
        )


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    """As ``model.to(dtype)``, which does not take fake tensors."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def _ends(model: Any, blocks: list[nn.Module]) -> tuple[int, int]:
    """Parameters before the first block and behind the last, in a chain such as pipelines are cut from.

    A tied table is at both ends. Of a model that is no chain all that is not in blocks is at both.
    """
    parts = model.part_modules() if hasattr(model, "part_modules") else []
    places = [i for i, part in enumerate(parts) if any(part is block for block in blocks)]
    if not places:
        outside = sum(p.numel() for p in model.parameters()) - _numel(blocks)
        return outside, outside
    return _numel(parts[: places[0]]), _numel(parts[places[-1] + 1 :])


def _expert_parameters(blocks: list[nn.Module]) -> int:
    if not blocks:
        return 0
    return sum(
        _numel(list(module.children()))
        for name, module in blocks[0].named_modules()
        if name.rpartition(".")[2] == "experts" and isinstance(module, nn.ModuleList)
    )


if __name__ == "__main__":
    request = json.loads(Path(sys.argv[1]).read_text())
    limit_growth(int(sys.argv[3]))
    write_json(Path(sys.argv[2]), profile(**request).to_json())
