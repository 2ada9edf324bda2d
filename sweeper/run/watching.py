"""What a trial's ranks are doing, read from outside, twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder

# Reading a rank's file and its size in /proc takes the parent some 50 microseconds, and the rank nothing.
WATCH_SECONDS = 0.5

Watcher = Callable[[Mapping[str, Any]], None]


class Watch:
    """Tells ``watch`` rank 0's progress, with the fullest rank's memory as ``memory_bytes``."""

    def __init__(self, folder: TrialFolder, ranks: int, watch: Watcher | None) -> None:
        self._folder, self._ranks, self._watch = folder, ranks, watch
        self._next = 0.0

    def look(self, now: float | None = None) -> None:
        """As often as it is called; it does something twice a second."""
        now = time.monotonic() if now is None else now
        if self._watch is None or now < self._next:
            return
        self._next = now + WATCH_SECONDS
        found = [read_json(self._folder.progress(rank)) for rank in range(self._ranks)]
        if isinstance(found[0], dict):
            self._watch({**found[0], "memory_bytes": _fullest(found)})


def _fullest(progress: list[Any]) -> int | None:
    known = [n for p in progress if isinstance(p, dict) and (n := _memory_bytes(p))]
    return max(known, default=None)


def _memory_bytes(progress: Mapping[str, Any]) -> int | None:
    """What the rank says that it holds on its device; on the CPU, what it has resident now.

    ``unmapped_bytes`` are pages of the libraries that a fork has not touched again: a rank that was
    started by itself has them, and the memory model counts them.
    """
    if progress.get("device_bytes"):
        return int(progress["device_bytes"])
    if not progress.get("pid"):
        return None
    try:
        resident = psutil.Process(progress["pid"]).memory_info().rss
    except psutil.Error:
        return None
    return int(resident) + int(progress.get("unmapped_bytes") or 0)
