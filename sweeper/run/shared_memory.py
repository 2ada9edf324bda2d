"""The shared memory that DeepSpeed's CPU communication and NCCL leave behind."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

SEGMENTS = Path("/dev/shm")
# DeepSpeed 0.19 (csrc/cpu/comm/shm.cpp): 66 MiB for each rank of each run, named after the port and
# never unlinked. A study of hundreds of trials would fill the machine's memory with them.
PATTERN = "deepspeed_allreduce_buffer_*"
# NCCL's, 32 MiB each, stay of ranks that are killed while they connect (llm-d#352).
NCCL_PATTERN = "nccl-*"

# Ranks that start make and open them one after the other: a new one may not be mapped by all yet.
SETTLED_SECONDS = 60.0


def clear_shared_memory(folder: Path = SEGMENTS, *, port: str | None = None) -> list[Path]:
    """Removes this user's segments that no living process has mapped; returns them.

    With ``port`` those of the run that met there, which has ended; else those that are old, NCCL's too.
    """
    patterns = [PATTERN] if port is not None else [PATTERN, NCCL_PATTERN]
    there = [path for pattern in patterns for path in folder.glob(pattern)]
    found = [path for path in there if _is_ours(path) and _is_over(path, port)]
    if not found:
        return []
    in_use = mapped(found)
    removed = [path for path in found if path not in in_use]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def _is_over(path: Path, port: str | None) -> bool:
    if port is not None:
        return f"_{port}_" in path.name
    try:
        return time.time() - path.stat().st_mtime > SETTLED_SECONDS
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except OSError:
        return False


def mapped(paths: Sequence[Path]) -> set[Path]:
    """Those that a living process has in its memory."""
    in_use: set[Path] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            text = maps.read_text(errors="replace")
            in_use |= {path for path in paths if str(path) in text}
    return in_use
