"""What one optimizer step of a script works on, seen at its engine: samples drawn, rows, elements, tokens, passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator
from torch import Tensor, nn

from sweeper.core.script_work import StepWork
from sweeper.worker.script.loaders import DrawnSamples

_MAX_DEPTH = 4  # of objects in objects that are looked into


class Work:
    """Counts forward and backward passes until ``take`` gives what they were of.

    ``micro_size`` is the configuration's: several forward passes before one backward pass are of one
    micro-batch, and the rows of an input that has as many are its samples; masks are inputs, too.
    ``looks_closely``: targets are counted, for which a device is waited for.
    """

    def __init__(
        self, micro_size: int, drawn: DrawnSamples, *, looks_closely: bool = False
    ) -> None:
        self._micro_size, self._drawn = micro_size, drawn
        self._looks_closely = looks_closely
        self._clear()

    def _clear(self) -> None:
        self._passes: list[int] = []
        self._rows = self._elements = self._tokens = self._longest = 0
        self._forwards = self._backwards = 0
        self._targets: list[int] = []
        self._mark = self._drawn.mark()

    def forward(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        """A pass of these inputs, with gradients."""
        self._forwards += 1
        tensors = list(tensors_in([list(positional), dict(named)]))
        if not tensors:
            return
        self._passes.append(self._samples_among([len(tensor) for tensor in tensors]))
        self._elements += max(tensor.numel() for tensor in tensors)
        for tensor in tensors:
            if tensor.dim() >= 2 and not tensor.is_floating_point() and tensor.dtype not in _NO_IDS:
                self._tokens += tensor.numel()
                self._longest = max(self._longest, *tensor.shape)
                break
        if self._looks_closely:
            self._targets.append(_targets_in(tensors))

    def backward(self) -> None:
        """Of the forward passes since the last one."""
        self._backwards += 1
        self.end_micro_step()

    def end_micro_step(self) -> None:
        """Also where gradients came by a ``loss.backward()`` that the engine was not asked for."""
        if self._passes:
            self._rows += self._samples_among([max(self._passes), *self._passes])
            self._passes.clear()

    def _samples_among(self, sizes: Sequence[int]) -> int:
        """The configured number, whichever input has it; the first where none has."""
        return self._micro_size if self._micro_size in sizes else sizes[0]

    def take(self) -> StepWork:
        """Of the step that ends here, over all ranks."""
        drawn = self._drawn.since(self._mark)
        counts = [
            -1 if drawn is None else drawn,
            self._rows,
            self._elements,
            self._tokens,
            self._backwards or self._forwards,
        ]
        longest, unequal = self._longest, len(set(self._targets)) > 1
        self._clear()
        summed = _over_ranks(counts)
        ranks = summed.pop()
        unknown = drawn is None or summed[0] < 0
        return StepWork(
            drawn=None if unknown or not summed[0] else summed[0],
            rows=summed[1] or None,
            elements=summed[2] or None,
            tokens=summed[3] or None,
            passes=summed[4] // ranks,
            longest=longest,
            unequal=unequal,
        )


def _targets_in(tensors: Sequence[Tensor]) -> int:
    """Whole numbers that a loss counts: all of the first input's, less those of one that marks some as left out."""
    numbers = [t for t in tensors if not t.is_floating_point() and t.dtype not in _NO_IDS]
    for tensor in numbers:
        left_out = int((tensor == _LEFT_OUT).sum())
        if left_out:
            return tensor.numel() - left_out
    return numbers[0].numel() if numbers else 0


_LEFT_OUT = -100  # torch's ignore_index
_NO_IDS = (torch.bool, torch.uint8)  # masks and pictures


def _over_ranks(counts: Sequence[int]) -> list[int]:
    """Their sums, and the number of ranks."""
    if not dist.is_initialized():
        return [*counts, 1]
    sums = torch.tensor([*counts, 1], device=get_accelerator().current_device_name())
    dist.all_reduce(sums)
    return [int(count) for count in sums.tolist()]


def tensors_in(values: Any, depth: int = 0) -> Iterator[Tensor]:
    """Those with a batch dimension, in order, out of lists, dictionaries, dataclasses and other objects."""
    if isinstance(values, Tensor):
        if values.dim():
            yield values
        return
    if depth > _MAX_DEPTH:
        return
    if isinstance(values, Mapping):
        inside: Any = list(values.values())
    elif isinstance(values, list | tuple):
        inside = values
    elif is_dataclass(values) and not isinstance(values, type):
        inside = [getattr(values, f.name, None) for f in fields(values)]
    elif isinstance(values, nn.Module | type) or callable(values):
        return
    else:
        inside = list(getattr(values, "__dict__", {}).values())
    for value in inside:
        yield from tensors_in(value, depth + 1)
