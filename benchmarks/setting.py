"""What the benchmarks share: specifications of trials, and where results are written."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Outcome
from sweeper.core.plan import plan
from sweeper.core.settings import Settings, settings_from_mapping
from sweeper.core.spec import TrialSpec
from sweeper.places import conf_dir
from sweeper.run.exclusive import exclusive
from sweeper.run.machine import quick_look
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "results" / "published"


def settings_of(changes: Mapping[str, Any]) -> Settings:
    """The default configuration with groups (``"zero": "stage2"``) or settings changed."""
    config: dict[str, Any] = {}
    groups = {
        "model": "gpt2-nano",
        "zero": "stage0",
        "offload": "none",
        "precision": "fp32",
        "batch": "default",
        "comm": "default",
        "checkpointing": "none",
        "compile": "none",
        "parallel": "data",
        "optimizer": "adamw",
        "workload": "cpu",
        "measure": "quick",
        "launch": "deepspeed",
        **{name: value for name, value in changes.items() if "." not in name},
    }
    for group, option in groups.items():
        config[group] = _option(group, option)
    config["hardware"] = {"accelerator": "cpu", "ranks": 1, "memory_limit": None}
    for name, value in changes.items():
        if "." in name:
            group, setting = name.split(".")
            config[group] = {**config[group], setting: value}
    return settings_from_mapping(config)


def spec_of(changes: dict[str, Any], **measure: Any) -> TrialSpec:
    """The specification of a trial with the settings ``settings_of(changes)``."""
    ready = plan(settings_of(changes), quick_look()).ready
    assert isinstance(ready, TrialSpec), ready
    ensure_ops(ready.ops, accelerator=ready.accelerator, say=print)
    return replace(ready, **measure)


@functools.cache
def _option(group: str, option: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((conf_dir() / group / f"{option}.yaml").read_text())
    return loaded


def publish(name: str, document: dict[str, Any], environment: dict[str, Any]) -> Path:
    """Writes raw results with what they were measured on."""
    path = PUBLISHED / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    machine = {k: v for k, v in environment.items() if k != "host"}
    path.write_text(
        json.dumps(
            {
                "schema_version": 1,
                "environment": {**machine, "system": platform.system(), "revision": revision},
                **document,
            },
            indent=1,
        )
        + "\n"
    )
    return path


def run_alone(spec: TrialSpec) -> tuple[Outcome, float, dict[str, Any]]:
    """A warm trial beside no other: what became of it, its wall seconds and its environment."""
    ensure_ops(spec.ops, accelerator=spec.accelerator, say=print)
    with tempfile.TemporaryDirectory() as temporary, exclusive([spec.accelerator], print):
        folder = TrialFolder(Path(temporary) / "trial")
        start = time.perf_counter()
        outcome = runner("warm").run(spec, folder)
        wall_seconds = time.perf_counter() - start
        return outcome, wall_seconds, (read_json(folder.result(0)) or {}).get("environment", {})
