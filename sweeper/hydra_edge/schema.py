"""Tells Hydra the types of the settings, the names in our YAML files and the sweeper's options."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import MISSING, DictConfig, OmegaConf

from sweeper.core.objective import Objective
from sweeper.core.settings import FREE_GROUPS, Settings
from sweeper.hydra_edge.settings_help import settings_help
from sweeper.run.machine import accelerator, device_count

SAMPLERS: dict[str, dict[str, Any]] = {
    "guided": {"_target_": "sweeper.search.guide.Guide"},
    "tpe": {
        "_target_": "optuna.samplers.TPESampler",
        "n_startup_trials": 5,
        "multivariate": True,
        "group": True,
        "constant_liar": True,
    },
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "qmc": {"_target_": "optuna.samplers.QMCSampler", "warn_independent_sampling": False},
    "gp": {"_target_": "optuna.samplers.GPSampler"},
    "nsgaii": {"_target_": "optuna.samplers.NSGAIISampler"},
    "grid": {"_target_": "optuna.samplers.GridSampler"},
}


@dataclass
class OptunaSweeperConf:
    """The stock plugin's field names, and what it lacks.

    ``n_trials`` counts the trials that are run, of which ``n_seeds`` at most are what a practitioner
    would try; ``patience`` ends a study after so many without an improvement. The ``finalists`` best
    are then measured again, in ``finalist_rounds`` rounds at most. The objective decides ``direction``. ``storage`` is an RDB URL, ``journal:PATH``, or
    null for a journal in the study's folder. ``warm_start`` is the folder of an earlier study, whose
    trials are taken as evidence; ``resume`` is set by ``resume=results/<study>``. ``n_jobs`` is 1: trials that share a machine would
    disturb each other's timing.
    """

    _target_: str = "hydra_plugins.sweeper_optuna.OptunaSweeper"
    _recursive_: bool = False
    sampler: Any = MISSING
    direction: Any = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: int = 8
    n_jobs: int = 1
    timeout: float | None = None
    patience: int | None = None
    n_seeds: int = 5
    finalists: int = 3
    finalist_rounds: int = 5
    seed: int | None = 1
    max_failure_rate: float = 1.0
    max_crashes_in_a_row: int = 5
    params: dict[str, Any] | None = None
    custom_search_space: str | None = None
    warm_start: str | None = None
    resume: bool = False


# Global, so that the space it brings is the group that is typed: space=quick.
_SWEEPER_NODE = {
    "defaults": ["_self_", {"/hydra/sweeper/sampler": "guided"}, {"/space": "standard"}],
    "hydra": {"sweeper": OptunaSweeperConf},
}


def register() -> None:
    """Registers plugin, schema and resolvers; may be called again.

    The plugin scan comes first: Hydra 1.3 imports plugin modules anew in it, and the last one to
    register the name ``optuna`` (the published plugin has it too) would win.
    """
    plugins = Plugins.instance()
    from hydra_plugins.sweeper_optuna import OptunaSweeper

    plugins.register(OptunaSweeper)
    _store(
        "sweeper_schema",
        {
            name: _unfrozen(kind)
            for name, kind in get_type_hints(Settings).items()
            if isinstance(kind, type) and is_dataclass(kind)
        }
        | {"objective": _unfrozen(Objective)}
        # Open: any argument of a factory, any key of DeepSpeed's may be set in them.
        | {name: DictConfig({}, flags={"struct": False}) for name in (*FREE_GROUPS, "callbacks")},
    )
    for name in ("optuna", "deepspeed"):
        _store(name, _SWEEPER_NODE, group="hydra/sweeper", package="_global_")
    # In the place of a model, and no option of conf/model/.
    node = {"name": "${sweeper.stem:${script.path}}", "_target_": "${script.path}"}
    _store("script", node, group="model")
    for name, node in SAMPLERS.items():
        _store(name, node, group="hydra/sweeper/sampler")
    for name, resolver in (
        ("accelerator", accelerator),
        ("device_count", lambda: max(device_count(), 1)),
        ("study", _study_name),
        ("trial", "{:04d}".format),
        ("stem", lambda path: Path(path).stem),
    ):
        OmegaConf.register_new_resolver(f"sweeper.{name}", resolver, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweeper.settings_help", _settings_help, replace=True)


def _store(name: str, node: Any, *, group: str | None = None, package: str | None = None) -> None:
    store = ConfigStore.instance()
    # Hydra 1.4 warns of a clash unless it is told that it is meant.
    replace = {"replace": True} if "replace" in inspect.signature(store.store).parameters else {}
    store.store(name=name, group=group, node=node, package=package, provider="sweeper", **replace)


def _unfrozen(cls: type) -> type:
    """The same fields as a dataclass that OmegaConf does not treat as read-only."""
    hints = get_type_hints(cls)
    members: list[Any] = []
    for f in fields(cls):
        if isinstance(kind := hints[f.name], type) and is_dataclass(kind):
            group = _unfrozen(kind)
            members.append((f.name, group, field(default_factory=group)))
        else:
            # A knob that nothing is said of is null: left to DeepSpeed.
            members.append((f.name, kind, field(default=None if f.default is None else MISSING)))
    return make_dataclass(cls.__name__, members)


def _settings_help(*, _root_: DictConfig) -> str:
    """For the template of --help, in which a $ would be Hydra's."""
    text = settings_help(lambda name: OmegaConf.select(_root_, name, default=None))
    return text.replace("$", "$$")


def _study_name(model: str) -> str:
    """``gpt2-20261121-141500``, with a number behind it where there is such a folder already."""
    name = f"{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    taken = 1
    while Path("results", name if taken == 1 else f"{name}-{taken}").exists():
        taken += 1
    return name if taken == 1 else f"{name}-{taken}"
