"""``study.yaml``: how a study was made, and on what."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from sweeper.core.files import write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.space import Domain
from sweeper.hydra_edge.expressions import Typed

STUDY_SCHEMA = 1


def write_study(
    folder: StudyFolder,
    *,
    options: Mapping[str, Any],
    typed: Typed,
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> None:
    """``options`` are the sweeper's, ``config`` the baseline's resolved configuration."""
    document = {
        "schema_version": STUDY_SCHEMA,
        "study_name": options.get("study_name") or folder.path.name,
        "storage": options.get("storage"),
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "arguments": _typed(sys.argv[1:]),
        "overrides": list(typed.fixed),
        "space": {name: _described(domain) for name, domain in typed.space.parameters.items()},
        "sweeper": {k: v for k, v in options.items() if k != "params"},
        "environment": dict(environment),
        "config": dict(config),
    }
    write_text(folder.study, yaml.safe_dump(document, sort_keys=False))


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
