"""The global batches that every candidate of a study trains on, and each rank's share of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from sweeper.core.spec import TrialSpec
from sweeper.worker.feed import MakeBatch, TokenIds, mapped

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Batches:
    """Batch ``step`` depends on the seed and the step alone: not on ranks, micro-batch or stage."""

    def __init__(
        self, spec: TrialSpec, *, make_batch: MakeBatch, data_rank: int, device: str
    ) -> None:
        self._spec = spec
        self._make_batch = make_batch
        self._data_rank = data_rank
        self._device = device
        if spec.tokens_file is not None:
            if not isinstance(make_batch, TokenIds):
                raise ValueError(
                    f"workload.tokens_file={spec.tokens_file}: the model takes other batches than"
                    " token ids; type workload.tokens_file=null"
                )
            self._make_batch = _TokensFile(Path(spec.tokens_file), spec, make_batch.vocab_size)

    def micro_batches(self, step: int) -> list[Any]:
        """This rank's micro-batches of one optimizer step; of tokens (micro, length + 1) ids."""
        spec = self._spec
        batch = self._make_batch(
            samples=spec.global_batch_size,
            length=spec.sequence_length,
            generator=torch.Generator().manual_seed(spec.seed * 1_000_003 + step),
        )
        shape = (spec.accumulation_steps, spec.data_parallel, spec.micro_size)
        own = mapped(batch, lambda tensor: tensor.unflatten(0, shape)[:, self._data_rank])
        return [
            mapped(own, lambda tensor, i=i: self._placed(tensor[i]))
            for i in range(spec.accumulation_steps)
        ]

    def _placed(self, tensor: Tensor) -> Tensor:
        """On the device; what is no whole number in the dtype that the model is in."""
        dtype = _DTYPES.get(self._spec.precision) if tensor.is_floating_point() else None
        return tensor.to(self._device, dtype)


class _TokensFile:
    """Samples (samples, length + 1) of a file of token ids, from places that are drawn."""

    def __init__(self, path: Path, spec: TrialSpec, vocab_size: int) -> None:
        self._tokens = _open_tokens(path)
        self._name = f"workload.tokens_file={path}"
        self._vocab_size = vocab_size
        if self._tokens.size <= spec.sequence_length:
            raise ValueError(
                f"{self._name} holds {self._tokens.size} tokens,"
                f" fewer than one sample of {spec.sequence_length + 1}"
            )

    def __call__(self, *, samples: int, length: int, generator: torch.Generator) -> Tensor:
        starts = torch.randint(self._tokens.size - length, (samples, 1), generator=generator)
        drawn = self._tokens[(starts + torch.arange(length + 1)).numpy()]
        batch = torch.from_numpy(
            drawn.astype(numpy.int64)
        )  # what was drawn alone: the file may be of any size
        if int(batch.max()) >= self._vocab_size:
            raise ValueError(
                f"{self._name} holds the token {int(batch.max())},"
                f" the model knows {self._vocab_size}"
            )
        return batch


def _open_tokens(path: Path) -> numpy.ndarray:
    """All tokens in a row, mapped and not read."""
    if path.suffix == ".npy":
        array = numpy.load(path, mmap_mode="r")
    else:
        array = numpy.memmap(path, dtype=numpy.uint16, mode="r")
    return array.reshape(-1)
