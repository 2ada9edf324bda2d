"""Counts the samples that a script's data loaders hand over: what it trains on, whatever shape it has."""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter

_DRAWN = "_sweeper_drawn"


class DrawnSamples:
    """Of all loaders of this process while one of the ``models`` is in training mode."""

    def __init__(self) -> None:
        self.models: list[Any] = []
        self._count = self._num_uncounted = 0

    def mark(self) -> tuple[int, int]:
        """Where the count stands."""
        return self._count, self._num_uncounted

    def since(self, mark: tuple[int, int]) -> int | None:
        """The samples since then; None where a batch came whose samples were not drawn one by one."""
        return None if self._num_uncounted > mark[1] else self._count - mark[0]

    def watch(self) -> None:
        """Every loader of this process, from here on. A worker's batches count when they are handed over."""
        next_index, following, reset = (
            _BaseDataLoaderIter._next_index,
            _BaseDataLoaderIter.__next__,
            _BaseDataLoaderIter._reset,
        )

        @functools.wraps(next_index)
        def counted_index(iterator: Any) -> Any:
            index = next_index(iterator)
            drawn = len(index) if iterator._auto_collation and hasattr(index, "__len__") else None
            iterator.__dict__.setdefault(_DRAWN, deque()).append(drawn)
            return index

        @functools.wraps(following)
        def counted_next(iterator: Any) -> Any:
            batch = following(iterator)
            drawn = iterator.__dict__.get(_DRAWN)
            samples = drawn.popleft() if drawn else None
            if any(model.training for model in self.models):
                self._add(samples)
            return batch

        @functools.wraps(reset)
        def forgetting(iterator: Any, *given: Any, **named: Any) -> Any:
            iterator.__dict__[_DRAWN] = deque()
            return reset(iterator, *given, **named)

        _BaseDataLoaderIter._next_index = counted_index
        _BaseDataLoaderIter.__next__ = counted_next
        _BaseDataLoaderIter._reset = forgetting

    def _add(self, samples: int | None) -> None:
        if samples is None:
            self._num_uncounted += 1
        else:
            self._count += samples
