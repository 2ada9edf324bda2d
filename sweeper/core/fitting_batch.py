"""What to type for a batch that does not divide over the ranks."""

from __future__ import annotations


def fitting_batch(train: int, micro: int, ranks: int) -> tuple[int, int]:
    """The batch, rounded to what the ranks share equally, and the largest micro-batch up to ``micro`` that divides it."""
    of_a_rank = max(round(train / ranks), 1)
    fits = next(size for size in range(min(micro, of_a_rank), 0, -1) if of_a_rank % size == 0)
    return of_a_rank * ranks, fits
