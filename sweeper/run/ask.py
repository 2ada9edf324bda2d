"""Asks a child process, which has torch, about a model: one JSON document goes in, one comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.core.files import read_json, write_json
from sweeper.core.memory_errors import memory_that_ran_out
from sweeper.core.quantities import format_bytes
from sweeper.places import search_path
from sweeper.run.machine import available_bytes

# Of the memory that is free, what a child may take beyond its libraries: others run here too.
ROOM = 1 / 4
LEAST_ROOM_BYTES = 2**29


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``document`` is None where there was none; then ``reason`` says why."""

    document: Mapping[str, Any] | None
    reason: str = ""


def free_room_bytes() -> int:
    """What a child may take."""
    return max(round(available_bytes() * ROOM), LEAST_ROOM_BYTES)


def ask(
    module: str, request: Mapping[str, Any], *, timeout_seconds: float, room_bytes: int
) -> Answer:
    """Runs ``python -m module request.json answer.json room`` where no device is seen.

    The child holds itself to ``room_bytes`` of memory beyond its libraries'.
    """
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        write_json(asked, dict(request))
        try:
            child = subprocess.run(
                [sys.executable, "-m", module, str(asked), str(answered), str(room_bytes)],
                env={
                    **os.environ,
                    "DS_ACCELERATOR": "cpu",  # fake tensors need no device
                    "CUDA_VISIBLE_DEVICES": "",
                    "PYTHONPATH": search_path(),
                },
                start_new_session=True,  # a Ctrl-C is the parent's to act on
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(document=None, reason=f"it took more than {timeout_seconds:.0f} s")
        document = read_json(answered)
    if child.returncode != 0 or document is None:
        return Answer(document=None, reason=_reason(child.stderr, child.returncode, room_bytes))
    return Answer(document=document)


def _reason(stderr: str, exit_code: int, room_bytes: int) -> str:
    line = _exception(stderr.strip().splitlines()) or f"exit code {exit_code}"
    if line.startswith("MemoryError") or memory_that_ran_out(line, limited=True):
        return f"it takes more than the {format_bytes(room_bytes)} of memory that a try may take"
    return line


def _exception(lines: list[str]) -> str:
    """The first line of the exception that ended it; what follows is often advice, at length."""
    raised = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    for number in range(raised[-1] + 1 if raised else len(lines), len(lines)):
        if re.match(r"[A-Za-z_][\w.]*(:|$)", lines[number]):
            # Checks of a class begin with its name, and say on the next line what is wrong.
            more = lines[number + 1 : number + 2] if lines[number].endswith(":") else []
            return " ".join(line.strip() for line in [lines[number], *more])
    return lines[-1].strip() if lines else ""
