"""The configuration as Hydra composes it when nothing is typed, and the files that it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sweeper.core.settings import Settings
from sweeper.hydra_edge.compose import settings_of
from sweeper.hydra_edge.hydra_versions import VERSION_BASE
from sweeper.hydra_edge.schema import register
from sweeper.hydra_edge.settings_help import shown
from sweeper.places import conf_dir

ACCELERATORS = ("cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A file of a group: what it sets below ``prefix``, and what its comment says."""

    name: str
    prefix: str
    values: Mapping[str, Any]
    comment: str


def defaults(accelerator: str) -> Mapping[str, Any]:
    """Every setting by its dotted name, where nothing but the hardware is typed; not resolved."""
    config = _composed("+model=gpt2-nano", f"hardware={accelerator}")
    return dict(_flat(OmegaConf.to_container(config, resolve=False), ""))


def settings() -> Settings:
    """Of a trial of the nano GPT-2 on the CPU: legal as it is."""
    return settings_of(_composed("+model=gpt2-nano", "hardware=cpu"))


def default_options() -> Mapping[str, str]:
    """The option of each group that is taken unless another is typed."""
    document = yaml.safe_load((conf_dir() / "config.yaml").read_text(encoding="utf-8"))
    chosen = [entry for entry in document["defaults"] if isinstance(entry, dict)]
    return {group: name for entry in chosen for group, name in entry.items()}


def options(group: str) -> Iterator[Option]:
    """In the order of their names."""
    folder = conf_dir() / group
    for path in sorted(folder.rglob("*.yaml")):
        yield _option(path, path.relative_to(folder).with_suffix("").as_posix(), group)


def as_typed(value: Any) -> str:
    """A value of a YAML file; ``${hardware.ranks}`` is told by its name, a function by its own."""
    if isinstance(value, str) and (found := re.fullmatch(r"\$\{(.*?)(?::.*)?\}", value)):
        return found[1].removeprefix("sweeper.").replace("_", " ")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {as_typed(v)}" for k, v in value.items()) + "}"
    return shown(value)


def _option(path: Path, name: str, group: str) -> Option:
    text = path.read_text(encoding="utf-8")
    lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    comment = " ".join(line for line in lines if not line.startswith("@package"))
    package = next((line.split()[1] for line in lines if line.startswith("@package")), group)
    values = {k: v for k, v in (yaml.safe_load(text) or {}).items() if k != "defaults"}
    if package == "_global_":  # names its group itself
        package, values = group, values.get(group, values)
    return Option(name=name, prefix=package, values=values, comment=comment)


def _composed(*overrides: str) -> Any:
    register()
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        return compose("config", list(overrides))


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{prefix}{name}.")
    else:
        yield prefix.rstrip("."), value
