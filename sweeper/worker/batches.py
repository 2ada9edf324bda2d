"""The global batches that every candidate of a study trains on, and each rank's share of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sweeper.core.spec import TrialSpec


class Batches:
    """Batch ``step`` depends on the seed and the step alone: not on ranks, micro-batch or stage."""

    def __init__(self, spec: TrialSpec, *, vocab_size: int, data_rank: int, device: str) -> None:
        self._spec = spec
        self._vocab_size = vocab_size
        self._data_rank = data_rank
        self._device = device
        self._tokens = None if spec.tokens_file is None else _open_tokens(Path(spec.tokens_file))
        if self._tokens is not None and self._tokens.numel() <= spec.sequence_length:
            raise ValueError(
                f"workload.tokens_file={spec.tokens_file} holds {self._tokens.numel()} tokens,"
                f" fewer than one sample of {spec.sequence_length + 1}"
            )

    def micro_batches(self, step: int) -> list[Tensor]:
        """This rank's micro-batches of one optimizer step: token ids (micro, length + 1)."""
        spec = self._spec
        samples = self._global_batch(step).view(
            spec.accumulation_steps, spec.data_parallel, spec.micro_size, spec.sequence_length + 1
        )
        return [
            samples[i, self._data_rank].to(self._device) for i in range(spec.accumulation_steps)
        ]

    def _global_batch(self, step: int) -> Tensor:
        """Token ids of shape (global batch, length + 1)."""
        spec = self._spec
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        shape = (spec.global_batch_size, spec.sequence_length + 1)
        if self._tokens is None:
            # Small ids are drawn more often, as words are, so that a training that works shows.
            uniform = torch.rand(shape, generator=generator)
            return (uniform.pow(3) * self._vocab_size).long()
        starts = torch.randint(
            self._tokens.numel() - spec.sequence_length, (shape[0], 1), generator=generator
        )
        batch = self._tokens[starts + torch.arange(shape[1])].long()
        if int(batch.max()) >= self._vocab_size:
            raise ValueError(
                f"workload.tokens_file={spec.tokens_file} holds the token {int(batch.max())},"
                f" the model knows {self._vocab_size}"
            )
        return batch


def _open_tokens(path: Path) -> Tensor:
    """A flat tensor over the file, mapped and not read."""
    import numpy

    if path.suffix == ".npy":
        array = numpy.load(path, mmap_mode="r")
    else:
        array = numpy.memmap(path, dtype=numpy.uint16, mode="r")
    return torch.from_numpy(array.reshape(-1).astype(numpy.int32))
