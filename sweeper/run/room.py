"""How near each rank was to its limit on memory, seen from outside: an allocation that fails in a library may
end a rank before it can write that it did."""

from __future__ import annotations

import re
from pathlib import Path

from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder

LOOK_EVERY_SECONDS = 0.5
# Of the limit. What could not be had any more was less than the rest.
FULL = 0.9

_SIZE = re.compile(r"^VmData:\s+(\d+) kB", re.MULTILINE)
_LIMIT = re.compile(r"^Max data size\s+(\d+)", re.MULTILINE)


class Room:
    """What each rank had taken of its limit, when it was last seen."""

    def __init__(self, folder: TrialFolder, ranks: int) -> None:
        self._progress = [folder.progress(rank) for rank in range(ranks)]
        self._shares = [0.0] * ranks
        self._next = 0.0

    def look(self, now: float) -> None:
        """As often as it is called; it does something twice a second."""
        if now < self._next:
            return
        self._next = now + LOOK_EVERY_SECONDS
        for rank, path in enumerate(self._progress):
            document = read_json(path)
            if isinstance(document, dict) and (process := document.get("pid")):
                share = _share(Path("/proc", str(process)))
                self._shares[rank] = self._shares[rank] if share is None else share

    @property
    def full(self) -> tuple[int, ...]:
        """The ranks that had next to nothing left."""
        return tuple(rank for rank, share in enumerate(self._shares) if share >= FULL)


def _share(process: Path) -> float | None:
    """Of the limit; None where there is none, or no such process."""
    try:
        size = _SIZE.search((process / "status").read_text())
        limit = _LIMIT.search((process / "limits").read_text())
    except OSError:
        return None
    return int(size[1]) * 1024 / int(limit[1]) if size and limit else None
