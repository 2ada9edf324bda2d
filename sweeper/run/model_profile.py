"""The profile of a study's model: from the cache, else traced by a child process."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sweeper.core.folder import read_json, write_json
from sweeper.core.model_profile import PROFILE_SCHEMA, ModelProfile
from sweeper.core.settings import Settings
from sweeper.places import cache_dir, import_root, models_dir

TRACE_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A profile, or why there is none."""

    profile: ModelProfile | None
    reason: str = ""


def model_profile(settings: Settings) -> ModelProfile | None:
    """None where the model cannot be traced; ``profiled`` says why. A script's model is not known."""
    if settings.is_script:
        return None
    return profiled(settings.model_target, settings.model_arguments).profile


def profiled(target: str, arguments: Mapping[str, Any]) -> Profiled:
    """Never raises: without a profile the sweeper plans as if it knew nothing of memory."""
    return _profiled(target, json.dumps(arguments, sort_keys=True, default=str))


@functools.lru_cache(maxsize=64)
def _profiled(target: str, arguments: str) -> Profiled:
    path = cache_dir() / "profiles" / f"{_fingerprint(target, arguments)}.json"
    try:
        return Profiled(profile=ModelProfile.from_json(read_json(path) or {}))
    except (ValueError, KeyError, TypeError):
        found = _trace(target, arguments)
    if found.profile is not None:
        write_json(path, found.profile.to_json())
    return found


def _fingerprint(target: str, arguments: str) -> str:
    """Of what the profile depends on: our own models' code too, which changes between versions."""
    digest = hashlib.sha256()
    for part in (target, arguments, metadata.version("torch"), str(PROFILE_SCHEMA)):
        digest.update(part.encode() + b"\0")
    if target.startswith("sweeper.models."):
        for path in sorted(models_dir().glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _trace(target: str, arguments: str) -> Profiled:
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "profile.json"
        write_json(request, {"target": target, "arguments": json.loads(arguments)})
        search_path = [str(import_root()), os.environ.get("PYTHONPATH", "")]
        command = [sys.executable, "-m", "sweeper.worker.model_profile"]
        try:
            child = subprocess.run(
                [*command, str(request), str(answer)],
                env={
                    **os.environ,
                    "DS_ACCELERATOR": "cpu",  # fake tensors need no device
                    "CUDA_VISIBLE_DEVICES": "",
                    "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
                },
                capture_output=True,
                text=True,
                timeout=TRACE_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Profiled(profile=None, reason=f"tracing {target} took too long")
        document = read_json(answer)
    if child.returncode != 0 or document is None:
        last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        return Profiled(profile=None, reason=f"{target} cannot be traced: {last[0]}")
    return Profiled(profile=ModelProfile.from_json(document))
