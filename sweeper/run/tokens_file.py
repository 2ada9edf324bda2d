"""Looks at the file of tokens that a training reads, before anything is started."""

from __future__ import annotations

import ast
import math
import os
import stat
from pathlib import Path

from sweeper.core.settings import Settings
from sweeper.errors import UsageError

_BYTES_OF_A_TOKEN = 2  # of a raw file
_NUMPY = b"\x93NUMPY"
_TYPE = "type workload.tokens_file=<a flat .npy array, or a .bin of unsigned 16-bit ids>, or null"


def check_tokens_file(settings: Settings) -> None:
    """Raises UsageError for one that no trial could read a sample of."""
    typed = settings.workload.tokens_file
    if typed is None:
        return
    try:
        tokens = _num_tokens(Path(typed))
    except OSError as error:
        raise UsageError(f"workload.tokens_file={typed}: {error.strerror}; {_TYPE}") from error
    except ValueError as error:
        raise UsageError(f"workload.tokens_file={typed}: {error}; {_TYPE}") from error
    sample = settings.workload.sequence_length + 1
    if tokens < sample:
        shorter = f"; type workload.sequence_length={tokens - 1}" if tokens > 1 else ""
        raise UsageError(
            f"workload.tokens_file={typed}: holds {tokens} tokens, fewer than one sample of {sample}"
            f"{shorter or f'; {_TYPE}'}"
        )


def _num_tokens(path: Path) -> int:
    with open(path, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("is no plain file")
        if path.suffix == ".npy":
            return _of_array(file.read(2**16), about.st_size)
    if about.st_size % _BYTES_OF_A_TOKEN:
        raise ValueError(f"has {about.st_size} bytes, and a token is {_BYTES_OF_A_TOKEN}")
    return about.st_size // _BYTES_OF_A_TOKEN


def _of_array(start: bytes, size: int) -> int:
    """From the header that numpy writes."""
    if not start.startswith(_NUMPY) or len(start) < 12:
        raise ValueError("is no .npy array")
    begin = 10 if start[6] == 1 else 12
    length = int.from_bytes(start[8:begin], "little")
    try:
        header = ast.literal_eval(start[begin : begin + length].decode("latin1").strip())
        kind, shape = str(header["descr"]), [int(n) for n in header["shape"]]
        bytes_of_one = int(kind[2:])
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise ValueError("is no .npy array of plain numbers") from error
    if kind[1] not in "iu":
        raise ValueError(f"is an array of {kind}, and token ids are whole numbers")
    tokens = math.prod(shape)
    if size < begin + length + tokens * bytes_of_one:
        raise ValueError("is not whole")
    return tokens
