"""A file of tokens is mapped by every rank, however large it is."""

import numpy
import pytest

torch = pytest.importorskip("torch")

from sweeper.worker import batches  # noqa: E402


@pytest.mark.parametrize("suffix", [".bin", ".npy"])
def test_tokens_are_read_where_they_are_drawn_and_nowhere_else(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"tokens{suffix}"
    tokens = numpy.arange(10_000, dtype=numpy.uint16) % 500
    if suffix == ".npy":
        numpy.save(path, tokens)
    else:
        tokens.tofile(path)
    seen = batches._open_tokens(path)
    assert isinstance(seen.base, numpy.memmap) or isinstance(seen, numpy.memmap)
    assert numpy.uint16 == seen.dtype  # as it lies on disk: nothing was copied
    assert (tokens == seen).all()
