"""Asks a child process, which has torch, about a model: one JSON document goes in, one comes out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.core.files import read_json, write_json
from sweeper.places import search_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``document`` is None where there was none; then ``reason`` says why."""

    document: Mapping[str, Any] | None
    reason: str = ""


def ask(module: str, request: Mapping[str, Any], *, timeout_seconds: float) -> Answer:
    """Runs ``python -m module request.json answer.json`` where no device is seen."""
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        write_json(asked, dict(request))
        try:
            child = subprocess.run(
                [sys.executable, "-m", module, str(asked), str(answered)],
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
        last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        return Answer(document=None, reason=last[0])
    return Answer(document=document)
