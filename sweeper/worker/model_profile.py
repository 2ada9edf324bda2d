"""Traces a model on fake tensors, without a device or its weights, into a profile of its memory."""

from __future__ import annotations

import contextlib
import json
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweeper.core.folder import write_json
from sweeper.core.model_profile import TRACED_MODES, Activations, Extent, ModelProfile
from sweeper.worker.building import _function

# (samples, tokens) around which a trace is made: so few that weights are the largest tensors, so many
# that activations are. Between the two a peak is the larger of both.
BATCHES = ((1, 16), (64, 256))
# Blocks that are computed; what the others do is known from them.
TRACED_BLOCKS = 3

Sizes = tuple[tuple[int, int], ...]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operators made and that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def ignore(self, tensor: Tensor) -> None:
        """A storage that is counted elsewhere, such as a parameter's."""
        self._known[tensor.untyped_storage()] = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self.now -= size

    def restart(self) -> int:
        """The peak since the last call."""
        peak, self.peak = self.peak, self.now
        return peak


class EvenRouting(TorchFunctionMode):
    """Answers what depends on values, which fake tensors do not have: experts are loaded evenly."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.bincount, Tensor.bincount) and kwargs.get("minlength"):
            bins, total = kwargs["minlength"], args[0].numel()
            with unset_fake_temporarily(), torch._C.DisableTorchFunction():
                return torch.tensor([(total + i) // bins for i in range(bins)])
        return func(*args, **kwargs)


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


def _sizes(parameters: Iterator[nn.Parameter]) -> Sizes:
    return tuple(sorted(Counter(p.numel() for p in parameters).items()))


class Marks:
    """Live bytes at the borders of a model's blocks, and the peaks between, of one step."""

    def __init__(self, live: LiveBytes, blocks: list[nn.Module]) -> None:
        self._live = live
        self._blocks = blocks
        self._computed = blocks[:TRACED_BLOCKS]
        self.forward: list[tuple[int, int, int]] = []  # live before, live after, peak
        self.backward: list[tuple[int, int]] = []  # live when it begins, peak until the next begins
        self.input_bytes = 0
        self.head_peak = 0

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        originals = [block.forward for block in self._blocks]
        for number, block in enumerate(self._blocks):
            block.forward = self._watched(number, block.forward)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for block, original in zip(self._blocks, originals, strict=True):
                block.forward = original  # type: ignore[method-assign]

    def _watched(self, number: int, original: Any) -> Any:
        def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
            if number >= len(self._computed) and self._passes_through:
                return x
            if number == 0:
                self.input_bytes = x.untyped_storage().nbytes()
                x.register_hook(self._begins)
            self._live.restart()
            before = self._live.now
            out = original(x, *args, **kwargs)
            self.forward.append((before, self._live.now, self._live.restart()))
            first = out[0] if isinstance(out, tuple) else out
            self._passes_through = isinstance(out, Tensor) and out.shape == x.shape
            first.register_hook(self._begins)
            return out

        return forward

    _passes_through = False

    def _begins(self, _: Tensor) -> None:
        """Called when a block's backward pass begins, and once more when the first block's has ended."""
        peak = self._live.restart()
        if self.backward:
            begun, _unknown = self.backward[-1]
            self.backward[-1] = (begun, peak)
        else:
            self.head_peak = peak
        self.backward.append((self._live.now, 0))


def trace(model: nn.Module, samples: int, tokens: int, *, autocast: bool) -> dict[str, float]:
    """The fields of Activations in bytes, for one forward and backward pass."""
    blocks = blocks_of(model)
    live = LiveBytes()
    for parameter in model.parameters():
        live.ignore(parameter)
    marks = Marks(live, blocks)

    def drop(parameter: Tensor) -> None:
        parameter.grad = None  # gradients are counted apart, and DeepSpeed takes them away

    hooks = [p.register_post_accumulate_grad_hook(drop) for p in model.parameters()]
    ids = torch.zeros((samples, tokens + 1), dtype=torch.long)
    try:
        with live, EvenRouting(), marks.on():
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = model(ids)
            loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
    return _fields(marks, live)


def _fields(marks: Marks, live: LiveBytes) -> dict[str, float]:
    if len(marks.forward) < 2 or len(marks.backward) != len(marks.forward) + 1:
        names = [f.name for f in fields(Activations)]
        return {**dict.fromkeys(names, 0.0), "head": float(live.restart())}
    before, after, peak = marks.forward[1]
    saved = after - before
    # By the second block, so that what the first one caches for all of them is not a block's own.
    embedding_saved = before - saved
    # The last one to go backward is the first block, and after it begins the embedding's.
    begun, block_peak = marks.backward[-3]
    return {
        "embedding_saved": embedding_saved,
        "block_input": marks.input_bytes,
        "block_saved": saved,
        "block_forward": peak - before,
        "head": marks.head_peak - marks.forward[-1][1],
        "carried": begun - 2 * saved - embedding_saved,
        "block_backward": block_peak - begun,
        "embedding_backward": live.restart(),
    }


def _extent(short: float, longer: float, double: float, samples: int, tokens: int) -> Extent:
    """Through what was found for (samples, tokens/2), (samples, tokens) and (2 samples, tokens)."""
    sample = (double - longer) / samples
    constant = longer - samples * sample
    half = (short - constant) / samples
    # half = c1 t/2 + c2 t^2/4 and sample = c1 t + c2 t^2
    pair = (sample - 2 * half) * 2 / tokens**2
    return Extent(constant=constant, per_token=sample / tokens - pair * tokens, per_token_pair=pair)


def activations(model: nn.Module, samples: int, tokens: int, *, autocast: bool) -> Activations:
    """Solved from three traces."""
    points = [
        trace(model, batch, length, autocast=autocast)
        for batch, length in ((samples, tokens // 2), (samples, tokens), (2 * samples, tokens))
    ]
    return Activations(
        **{
            f.name: _extent(*(p[f.name] for p in points), samples, tokens)
            for f in fields(Activations)
        }
    )


def profile(target: str, arguments: dict[str, Any]) -> ModelProfile:
    """Raises whatever the model raises where it cannot be built or run on fake tensors."""
    with FakeTensorMode():
        model: Any = _function(target)(**arguments)
        model.train()
        blocks = blocks_of(model)
        vocab_size = getattr(model, "vocab_size", None)
        positions = getattr(model, "max_positions", None)
        modes = {}
        for mode in TRACED_MODES:
            _cast(model, torch.bfloat16 if mode == "bf16" else torch.float32)
            modes[mode] = tuple(
                activations(
                    model, samples, min(tokens, positions or tokens), autocast="autocast" in mode
                )
                for samples, tokens in BATCHES
            )
        first, last = _ends(model, blocks)
        return ModelProfile(
            num_parameters=sum(p.numel() for p in model.parameters()),
            parameter_sizes=_sizes(model.parameters()),
            num_blocks=len(blocks),
            parameters_per_block=_numel(blocks[:1]),
            block_parameter_sizes=_sizes(blocks[0].parameters()) if blocks else (),
            expert_parameters_per_block=_expert_parameters(blocks),
            largest_module_parameters=max(
                sum(p.numel() for p in module.parameters(recurse=False))
                for module in model.modules()
            ),
            first_stage_parameters=first,
            last_stage_parameters=last,
            max_positions=positions,
            vocab_size=vocab_size,
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
    write_json(Path(sys.argv[2]), profile(request["target"], request["arguments"]).to_json())
