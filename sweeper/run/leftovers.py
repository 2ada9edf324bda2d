"""Temporary files of writers that were killed: found in a study's folder, and removed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from sweeper.core.folder import StudyFolder

# As ``write_bytes`` names them, and a rank's progress.
_OURS = re.compile(r"^\..+\.(\d+)\.tmp$")
_OF_A_RANK = re.compile(r"^progress\.rank\d+\.tmp$")
# What a script writes is its own.
_NOT_OURS = frozenset({"script_output", ".hydra"})


def sweep_temporary(folder: StudyFolder) -> list[Path]:
    """Removes those whose writer is gone; returns them. A trial in flight is left alone: it may be another host's."""
    in_flight = {str(trial.path) for trial in folder.unfinished()}
    in_flight |= {str(t.path) for t in folder.without_a_record() if t.pending.exists()}
    swept = []
    for path in _temporary(folder, in_flight):
        with contextlib.suppress(OSError):
            path.unlink()
            swept.append(path)
    return swept


def _temporary(folder: StudyFolder, in_flight: set[str]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder.path):
        folders[:] = [
            name for name in folders
            if name not in _NOT_OURS and os.path.join(place, name) not in in_flight
        ]  # fmt: skip
        for name in files:
            path = Path(place, name)
            found = _OURS.match(name)
            if _OF_A_RANK.match(name) or (found and not _writes(int(found[1]), path)):
                yield path


def _writes(pid: int, path: Path) -> bool:
    """Whether that process lives and has begun before the file: a number is given anew, soon in a container."""
    if pid == os.getpid():
        return False  # we are not writing
    try:
        return psutil.Process(pid).create_time() <= path.stat().st_mtime + 1
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False
