"""Gives a script that is a Hydra app of its own a folder of the trial's for what Hydra writes."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from sweeper.worker.script.when_imported import when_imported


def patch_hydra(output: Path) -> None:
    """Takes effect with the import. Nothing else of the script's configuration is changed."""
    when_imported("hydra._internal.hydra", functools.partial(_patch_composition, output))


def _patch_composition(output: Path, module: ModuleType) -> None:
    original = module.Hydra.compose_config
    signature = inspect.signature(original)
    quoted = str(output.resolve()).replace("\\", "\\\\").replace("'", "\\'")
    ours = [f"hydra.{mode}.dir='{quoted}'" for mode in ("run", "sweep")]

    @functools.wraps(original)
    def compose_config(*positional: Any, **named: Any) -> Any:
        bound = signature.bind(*positional, **named)
        bound.arguments["overrides"] = [*bound.arguments["overrides"], *ours]  # the last one counts
        return original(*bound.args, **bound.kwargs)

    module.Hydra.compose_config = compose_config
