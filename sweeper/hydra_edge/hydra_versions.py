"""What is called differently in the versions of Hydra and OmegaConf that are supported."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import hydra.utils
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

# Hydra 1.4 behaves as 1.3 is told to by this, and warns of being told.
VERSION_BASE: Mapping[str, Any] = (
    {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
)


def main(**how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``hydra.main``, under which a command line may name any callback: who types it runs it."""
    if "execution_whitelist" in inspect.signature(hydra.main).parameters:
        how["execution_whitelist"] = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
    return hydra.main(**VERSION_BASE, **how)


# Hydra 1.4 warns of a name that is stored twice unless it is told that it is meant.
_REPLACE: Mapping[str, Any] = (
    {"replace": True} if "replace" in inspect.signature(ConfigStore.store).parameters else {}
)
# OmegaConf 2.4 has it under the name that was another function's before.
_register: Callable[..., None] = (
    OmegaConf.register_resolver
    if "use_cache" in inspect.signature(OmegaConf.register_resolver).parameters
    else OmegaConf.register_new_resolver
)


def store(name: str, node: Any, *, group: str | None = None, package: str | None = None) -> None:
    """Tells Hydra a configuration of ours; may be called again."""
    ConfigStore.instance().store(
        name=name, group=group, node=node, package=package, provider="sweeper", **_REPLACE
    )


def register_resolver(name: str, resolver: Callable[..., Any], *, use_cache: bool) -> None:
    """Makes ``${name:...}`` of a function; may be called again."""
    _register(name, resolver, use_cache=use_cache, replace=True)
