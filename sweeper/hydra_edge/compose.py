"""From overrides to settings, by Hydra's composition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sweeper.core.settings import Settings, settings_from_mapping
from sweeper.errors import UsageError
from sweeper.factory_signature import check_model_arguments
from sweeper.places import conf_dir


def settings_of(config: DictConfig) -> Settings:
    """The settings in a composed configuration. Raises UsageError for what is not allowed."""
    if "model" not in config or not config.model:
        raise UsageError(no_model("no model was given"))
    own = config.copy()
    with open_dict(own):
        own.pop("hydra", None)
    try:
        values = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UsageError(str(error).splitlines()[0]) from error
    assert isinstance(values, dict)
    settings = settings_from_mapping({str(name): value for name, value in values.items()})
    check_model_arguments(settings.model_target, settings.model_arguments)
    return settings


def no_model(what: str) -> str:
    """The line for a model that is missing or unknown: ``what`` is wrong, and which there are."""
    names = options("model")
    return f"{what}; there are {', '.join(names)}; type +model={names[0] if names else 'NAME'}"


def options(group: str) -> list[str]:
    """The names of our own configurations in a group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


class Composer:
    """Composes what a job with further overrides would get."""

    def __init__(self, loader: ConfigLoader, master: DictConfig, fixed: Sequence[str]) -> None:
        self._loader = loader
        self._master = master
        self._fixed = list(fixed)

    def config(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._master, [*self._fixed, *overrides])

    def settings(self, overrides: Sequence[str]) -> Settings:
        return settings_of(self.config(overrides))


def choices_of(config: DictConfig) -> Mapping[str, Any]:
    """The option chosen for each group: ``{"zero": "stage0", ...}``."""
    return dict(config.hydra.runtime.choices)
