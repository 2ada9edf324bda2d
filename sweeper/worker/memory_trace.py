"""Counts the bytes that live at the borders of a model's blocks while it is run on fake tensors."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweeper.core.model_profile import Activations

# Blocks that are computed; what the others do is known from them.
TRACED_BLOCKS = 3


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operators made and that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self.in_backward = False
        # storage -> its bytes, in a list: they may pass to another storage
        self._known: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary()

    def ignore(self, tensor: Tensor) -> None:
        """A storage that is counted elsewhere, such as a parameter's."""
        self._known[tensor.untyped_storage()] = [0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.in_backward and func is torch.ops.aten.add.Tensor and isinstance(args[0], Tensor):
            # Autograd adds gradients of one tensor up in place, but not those of fake ones.
            self._pass_on(args[0].untyped_storage(), out.untyped_storage())
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._know(storage, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _pass_on(self, old: Any, new: Any) -> None:
        held = self._known.get(old)
        if held is not None and held[0] == new.nbytes():
            held[0] = 0
            self._know(new, new.nbytes())

    def _know(self, storage: Any, size: int) -> None:
        self._known[storage] = held = [size]
        weakref.finalize(storage, self._remove, held)

    def _remove(self, held: list[int]) -> None:
        self.now -= held[0]

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


def trace(
    model: nn.Module,
    blocks: list[nn.Module],
    loss_of_batch: Callable[[], Tensor],
    *,
    autocast: bool,
) -> dict[str, float]:
    """The fields of Activations in bytes, for one forward and backward pass."""
    live = LiveBytes()
    for parameter in model.parameters():
        live.ignore(parameter)
    marks = Marks(live, blocks)

    def drop(parameter: Tensor) -> None:
        parameter.grad = None  # gradients are counted apart, and DeepSpeed takes them away

    hooks = [p.register_post_accumulate_grad_hook(drop) for p in model.parameters()]
    try:
        with live, EvenRouting(), marks.on():
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = loss_of_batch()
            live.in_backward = True
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
