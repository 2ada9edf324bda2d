"""What a rank is doing, in a file that the parent reads while it waits."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


class Progress:
    """``phase`` is import, connect, build, initialize, warm-up or measure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.phase = "start"
        self.entered: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        self.phase = phase
        self.entered[phase] = time.time()
        self._write({"phase": phase})

    def step(self, number: int, total: int) -> None:
        self._write({"phase": self.phase, "step": number, "of": total})

    def _write(self, document: dict[str, object]) -> None:
        # Not durable on purpose: it costs microseconds, and only the living read it.
        temporary = self._path.with_suffix(".tmp")
        # The port names what DeepSpeed leaves behind; a launcher may have chosen it.
        now = {"port": os.environ.get("MASTER_PORT"), "time": time.time()}
        temporary.write_text(json.dumps({**document, **now}))
        os.replace(temporary, self._path)
