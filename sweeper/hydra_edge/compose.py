"""From overrides to settings, by Hydra's composition."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeper import hf_config
from sweeper.core.objective import Objective, objective_from_mapping
from sweeper.core.raw_keys import check_raw_keys
from sweeper.core.setting_words import example_of
from sweeper.core.settings import (
    FREE_GROUPS,
    HUGGING_FACE,
    Settings,
    setting_names,
    settings_from_mapping,
    with_values,
)
from sweeper.core.settings_together import check_together
from sweeper.errors import UsageError
from sweeper.factory_signature import check_model_arguments
from sweeper.hydra_edge.options import options

_ABSENT = object()
_NOT_SETTINGS = ("hydra", "objective", "callbacks")
_MAX_KEPT = 10_000  # combinations whose settings are kept


def settings_of(config: DictConfig) -> Settings:
    """The settings in a composed configuration. Raises UsageError for what is not allowed."""
    if "model" not in config or not config.model:
        raise UsageError(no_model("no model was given"))
    names = [str(name) for name in config if name not in _NOT_SETTINGS]
    try:
        values = {name: _plain(config[name]) for name in names}
    except OmegaConfBaseException as error:
        raise UsageError(_unresolved(str(error.full_key or ""), str(error))) from error
    settings = settings_from_mapping(values)
    check_together(settings)
    if settings.is_script:
        return settings
    check_raw_keys(settings)
    if settings.model_target == HUGGING_FACE:
        hf_config.check_architecture(
            settings.model_arguments, sequence_length=settings.workload.sequence_length
        )
        settings = replace(settings, model=hf_config.located(settings.model))
    check_model_arguments(settings.model_target, settings.model_arguments)
    return settings


def _unresolved(name: str, said: str) -> str:
    """The line for a value that stands for another, which is not there."""
    what = said.splitlines()[0].partition("resolving interpolation: ")
    known = setting_names()
    advice = f"{name}={example_of(name, known[name])}" if name in known else "its value itself"
    return f"{name or 'the configuration'}: {what[2] or what[0]}; type {advice}"


def _plain(node: Any) -> Any:
    if not OmegaConf.is_config(node):
        return node
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)


def objective_of(config: DictConfig) -> Objective:
    """What the study is after. Raises UsageError for what is not allowed."""
    values = OmegaConf.to_container(config.objective, resolve=True)
    assert isinstance(values, dict)
    return objective_from_mapping({str(name): value for name, value in values.items()})


def callbacks_of(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The callbacks that were chosen, with their options. Raises UsageError for one that says nothing."""
    node = OmegaConf.to_container(config.get("callbacks") or DictConfig({}), resolve=True)
    assert isinstance(node, dict)
    chosen = {str(name): values for name, values in node.items()}
    for name, values in chosen.items():
        if not isinstance(values, dict) or "_target_" not in values:
            raise UsageError(
                f"callbacks.{name}: no callback of this name was chosen; there are "
                f"{', '.join(options('callbacks'))}; type callbacks={name}"
            )
    return chosen


def no_model(what: str) -> str:
    """The line for a model that is missing or unknown: ``what`` is wrong, and which there are."""
    names = options("model")
    return f"{what}; there are {', '.join(names)}; type +model=gpt2"


class Composer:
    """Composes what a job with further overrides would get.

    Hydra takes some 80 ms to compose. It chooses the groups' options first and then sets plain values,
    so what the options give is kept, and a value is set on a copy of it.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, fixed: Sequence[str]) -> None:
        self._loader = loader
        self._master = master
        self._fixed = list(fixed)
        self._of_options: dict[tuple[str, ...], DictConfig] = {}
        self._changing_alone: set[str] = set()
        kept = functools.lru_cache(maxsize=_MAX_KEPT)
        self.quick_settings = kept(self._put_together)
        self._changed_by = kept(self._change_of)

    def config(self, overrides: Sequence[str]) -> DictConfig:
        values = [override for override in overrides if self._sets_a_value(override)]
        options = tuple(override for override in overrides if override not in values)
        if options not in self._of_options:
            self._of_options[options] = self._compose(options)
        if not values:
            return self._of_options[options]
        config = copy.deepcopy(self._of_options[options])
        for override in OverridesParser.create().parse_overrides(values):
            if OmegaConf.select(config, override.key_or_group, default=_ABSENT) is _ABSENT:
                return self._compose(overrides)  # Hydra says what is wrong with it
            OmegaConf.update(config, override.key_or_group, override.value())
        return config

    def settings(self, overrides: Sequence[str]) -> Settings:
        return settings_of(self.config(overrides))

    def _put_together(self, overrides: tuple[str, ...]) -> Settings:
        """The same, put together from what each override changes by itself; kept for the next time.

        Composing takes too long for the thousands of combinations that a search looks at. Where an
        override reaches beyond its own group they are composed all the same.
        """
        # As Hydra does: first the groups' options, then the values.
        ordered = sorted(overrides, key=self._sets_a_value)
        changes = [self._changed_by(override) for override in ordered]
        if self._base is None or None in changes:
            return self.settings(overrides)
        values = {n: v for change in changes if change for n, v in change.items()}
        return with_values(self._base, values)

    def _change_of(self, override: str) -> Mapping[str, Any] | None:
        """Settings of its own group; None where it changes more than those."""
        name = override.partition("=")[0]
        if name in self._changing_alone:
            return {name: _value(override)}
        change = self._look_at(override)
        base = self._base.flat() if self._base is not None else {}
        # What follows it would have changed with it: where nothing did, no other value matters either.
        if change is not None and [*change] == [name] and change[name] != base[name]:
            self._changing_alone.add(name)
        return change

    def _look_at(self, override: str) -> Mapping[str, Any] | None:
        name = override.partition("=")[0]
        group = name.partition(".")[0]
        if self._base is None or group in FREE_GROUPS or not group.isidentifier():
            return None
        before, after = self._base.flat(), self.settings((override,)).flat()
        # A value that is typed counts where it is the one that was there, too.
        changed = {n: v for n, v in after.items() if n == name or before.get(n, _ABSENT) != v}
        if len(before) != len(after) or any(n.partition(".")[0] != group for n in changed):
            return None
        return changed

    @functools.cached_property
    def _base(self) -> Settings | None:
        """Without an override; None where that is no configuration (the model itself is searched)."""
        try:
            return self.settings(())
        except UsageError:
            return None

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._master, [*self._fixed, *overrides])

    def _sets_a_value(self, override: str) -> bool:
        """``batch.micro_size=2``, but not ``zero=stage2`` nor ``+model.layers=2``."""
        name = override.partition("=")[0]
        return "." in name and name[0] not in "+~" and "@" not in name and "/" not in name


def _value(override: str) -> Any:
    """What Hydra takes the value for; its parser would need a millisecond for a number."""
    text = override.partition("=")[2]
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed.value()


def choices_of(config: DictConfig) -> Mapping[str, Any]:
    """The option chosen for each group: ``{"zero": "stage0", ...}``."""
    return dict(config.hydra.runtime.choices)
