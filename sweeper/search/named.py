"""Makes what a configuration names, nodes in it included: ``{_target_: optuna.samplers.TPESampler, ...}``."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

# Of Hydra's words those that say nothing of the object itself.
_OF_HYDRA = ("_convert_", "_recursive_", "_partial_")


def class_of(target: str) -> Any:
    """What the dotted name stands for. Raises whatever its module raises, AttributeError, ValueError."""
    module_name, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module_name), name)


def made(config: Any, seed: int | None = None) -> Any:
    """As Hydra would make it; what takes a seed and has none gets ``seed``."""
    if isinstance(config, list | tuple):
        return [made(each, seed) for each in config]
    if not isinstance(config, Mapping):
        return config
    values = {name: made(value, seed) for name, value in config.items() if name not in _OF_HYDRA}
    if (target := values.pop("_target_", None)) is None:
        return values
    cls = class_of(str(target))
    positional = values.pop("_args_", ())
    with contextlib.suppress(TypeError, ValueError):  # no signature is to be had of it
        if "seed" in inspect.signature(cls).parameters and values.get("seed") is None:
            values["seed"] = seed
    if config.get("_partial_"):
        return functools.partial(cls, *positional, **values)
    return cls(*positional, **values)
