"""What a rank is doing, in a file that the parent reads while it waits."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from sweeper.worker.limits import unmapped_file_bytes


class Progress:
    """``phase`` is import, connect, build, initialize, warm-up or measure.

    With what the parent needs to tell how much memory the rank has: ``device_bytes``, the device's
    allocator's own number where there is one, is as of the last phase, so that no step pays for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.phase = "start"
        self.device_bytes: int | None = None
        self.entered: dict[str, float] = {}
        self._unmapped_bytes = 0

    def enter(self, phase: str) -> None:
        self.phase = phase
        self.entered[phase] = time.time()
        self._unmapped_bytes = unmapped_file_bytes()
        self._write({"phase": phase})

    def step(self, number: int, total: int) -> None:
        self._write({"phase": self.phase, "step": number, "of": total})

    def _write(self, document: dict[str, object]) -> None:
        # Not durable on purpose: it costs microseconds, and only the living read it.
        temporary = self._path.with_suffix(".tmp")
        # The port names what DeepSpeed leaves behind; a launcher may have chosen it.
        now = {
            "port": os.environ.get("MASTER_PORT"),
            "time": time.time(),
            "pid": os.getpid(),
            "device_bytes": self.device_bytes,
            "unmapped_bytes": self._unmapped_bytes,
        }
        temporary.write_text(json.dumps({**document, **now}))
        os.replace(temporary, self._path)
