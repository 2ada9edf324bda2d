"""``study.yaml``: how a study was made, and on what."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from sweeper.core.files import write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.space import Choice, Domain
from sweeper.errors import masked
from sweeper.hydra_edge.expressions import Typed

STUDY_SCHEMA = 1


def write_study(
    folder: StudyFolder,
    *,
    options: Mapping[str, Any],
    storage: Any,
    typed: Typed,
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> None:
    """``options`` are the sweeper's, ``config`` the baseline's resolved configuration.

    ``storage`` is as it was typed. No password is written down.
    """
    sweeper = {k: v for k, v in options.items() if k != "params"}
    listed = {n: d for n, d in typed.space.parameters.items() if d.points() is not None}
    document = {
        "schema_version": STUDY_SCHEMA,
        "study_name": options.get("study_name") or folder.path.name,
        "storage": storage,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "arguments": _typed(sys.argv[1:]),
        "overrides": list(typed.fixed),
        "space": {name: _described(domain) for name, domain in typed.space.parameters.items()},
        "ranges": {n: repr(d) for n, d in listed.items() if not isinstance(d, Choice)},
        "sweeper": sweeper | ({"storage": storage} if "storage" in sweeper else {}),
        "environment": dict(environment),
        "config": dict(config),
    }
    write_text(folder.study, yaml.safe_dump(_masked(document), sort_keys=False))


def storage_as_typed(config: DictConfig, options: Mapping[str, Any]) -> Any:
    """With its interpolations: what the environment keeps is not for a file."""
    raw = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    typed = raw.get("storage") if isinstance(raw, dict) else None
    interpolated = isinstance(typed, dict) or (isinstance(typed, str) and "${" in typed)
    return typed if interpolated else options.get("storage")


def without_password(config: DictConfig) -> DictConfig:
    """For jobs, which keep the configuration in their folders and have no use for the storage."""
    storage = storage_as_typed(config, {"storage": config.hydra.sweeper.get("storage")})
    if storage is None or _masked(storage) == storage:
        return config
    safe = copy.deepcopy(config)
    with open_dict(safe):
        safe.hydra.sweeper.storage = _masked(storage)
        safe.hydra.overrides.hydra = [masked(str(a)) for a in config.hydra.overrides.hydra]
    return safe


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _masked(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each) for each in value]
    return masked(value) if isinstance(value, str) else value


def _typed(arguments: Sequence[str]) -> list[str]:
    """Without the mode that a sweeper which is chosen brings by itself."""
    chosen = any(argument.startswith("hydra/sweeper=") for argument in arguments)
    return [a for a in arguments if not (chosen and a == "--multirun")]


def resolved(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values, without Hydra's own part."""
    own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    values = OmegaConf.to_container(own, resolve=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _described(domain: Domain) -> Any:
    points = domain.points()
    return list(points) if points is not None else repr(domain)
