"""Compiled ops as a trial uses them: loaded from where they were built, never built again."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from deepspeed.accelerator import get_accelerator
from deepspeed.ops.op_builder.builder import OpBuilder


def adopt_built_ops(builders: Sequence[str], folder: str | None = None) -> None:
    """Gives DeepSpeed the libraries that lie in ``folder``, by its builders' class names.

    Without a folder it is TORCH_EXTENSIONS_DIR.

    torch's own loader would compile them anew in every clone, since the paths of a virtual
    environment are part of the build, and would take a lock that a killed trial leaves behind.
    What is not there is left to it.
    """
    loaded = getattr(OpBuilder, "_loaded_ops", None)
    folder = folder or os.environ.get("TORCH_EXTENSIONS_DIR")
    if loaded is None or folder is None:
        return
    for builder_name in builders:
        builder = get_accelerator().create_op_builder(builder_name)
        if builder is None or builder.name in loaded:
            continue
        library = Path(folder) / builder.name / f"{builder.name}.so"
        if not library.is_file():
            continue
        spec = importlib.util.spec_from_file_location(builder.name, library)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded[builder.name] = module
