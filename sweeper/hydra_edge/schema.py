"""Tells Hydra the types of the settings, the names in our YAML files and the sweeper's options."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.plugins import Plugins
from omegaconf import MISSING, DictConfig, OmegaConf

from sweeper.core.objective import Objective
from sweeper.core.settings import FREE_GROUPS, Settings, ranks_on_node
from sweeper.hydra_edge.default_hardware import default_hardware
from sweeper.hydra_edge.hydra_versions import register_resolver, store
from sweeper.hydra_edge.settings_help import settings_help
from sweeper.run.machine import device_count

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
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler", "warn_independent_sampling": False},
    "gp": {"_target_": "optuna.samplers.GPSampler"},
    "nsgaii": {"_target_": "optuna.samplers.NSGAIISampler"},
    "grid": {"_target_": "optuna.samplers.GridSampler"},
}


def _option(default: Any, help: str) -> Any:
    """A field of the sweeper with its meaning."""
    return field(default=default, metadata={"help": help})


@dataclass
class OptunaSweeperConf:
    """The stock plugin's field names, and what it lacks."""

    _target_: str = "hydra_plugins.sweeper_optuna.OptunaSweeper"
    _recursive_: bool = False
    sampler: Any = _option(
        MISSING, "what proposes candidates; typed as hydra/sweeper/sampler=<name>"
    )
    direction: Any = _option(None, "maximize or minimize; null, since the objective decides it")
    storage: Any = _option(
        None,
        "where Optuna keeps the study: an RDB URL, journal:PATH, or {_target_: optuna.storages.RDBStorage, ...};"
        " null is a journal in the study's folder",
    )
    study_name: str | None = _option(
        None,
        "its name in the storage, of one model and workload; null is that of the study's folder",
    )
    n_trials: int = _option(8, "trials that are run; what the plan rules out does not count")
    n_jobs: int = _option(1, "must be 1: trials that share a machine disturb each other's timing")
    timeout: float | None = _option(
        None, "seconds after which no further trial is begun; the finals come on top of that"
    )
    patience: int | None = _option(
        None, "trials in a row without an improvement by 1 % after which the search ends"
    )
    n_seeds: int = _option(
        5,
        "of the trials, those that a practitioner would try, right after the baseline; half of them at most",
    )
    finalists: int = _option(
        3,
        "how many of the best are measured again, of objective=pareto the whole front; 0 leaves it at one "
        "measurement each",
    )
    finalist_rounds: int = _option(5, "rounds of that at most; at least 3")
    seed: int | None = _option(1, "of the sampler; null draws one")
    max_failure_rate: float = _option(
        1.0, "share of trials that may crash before the study is given up"
    )
    max_crashes_in_a_row: int = _option(
        5, "trials that crash one after the other, after which the study is given up"
    )
    params: dict[str, Any] | None = _option(
        None, "the search space, name to expression; a space= sets it, what is typed adds to it"
    )
    custom_search_space: str | None = _option(
        None, "package.module.function of (config, trial) that suggests more, by Optuna's own means"
    )
    warm_start: str | None = _option(
        None, "the folder of an earlier study, whose trials are taken as evidence"
    )
    resume: bool = _option(False, "set by resume=results/<study>")


# Global, so that the space it brings is the group that is typed: space=quick.
_SWEEPER_NODE = {
    "defaults": ["_self_", {"/hydra/sweeper/sampler": "guided"}, {"/space": "standard"}],
    "hydra": {"sweeper": OptunaSweeperConf},
}


def register(arguments: Sequence[str] = ()) -> None:
    """Registers plugin, schema and resolvers; may be called again. ``arguments`` are those of the command line.

    The plugin scan comes first: Hydra 1.3 imports plugin modules anew in it, and the last one to
    register the name ``optuna`` (the published plugin has it too) would win.
    """
    plugins = Plugins.instance()
    from hydra_plugins.sweeper_optuna import OptunaSweeper

    plugins.register(OptunaSweeper)
    # Hydra 1.4 resolves nothing in a defaults list but groups, so the default is made here.
    store("sweeper_hardware", {"defaults": [{"hardware": default_hardware(arguments)}, "_self_"]})
    store(
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
        store(name, _SWEEPER_NODE, group="hydra/sweeper", package="_global_")
    # In the place of a model, and no option of conf/model/.
    name = "${sweeper.script_name:${script.path},${script.module}}"
    node = {"name": name, "_target_": "${script.path}"}
    store("script", node, group="model")
    for name, node in SAMPLERS.items():
        # Open: what a sampler of Optuna's may be given is for Optuna to say.
        values: dict[str, Any] = {"seed": None, **node}
        open_node = DictConfig(values, flags={"struct": False})
        store(name, open_node, group="hydra/sweeper/sampler")
    for name, resolver in (
        ("device_count", lambda: max(device_count(), 1)),
        ("ranks_on_node", ranks_on_node),
        ("study", _study_name),
        ("trial", _trial_name),
        ("script_name", _script_name),
    ):
        register_resolver(f"sweeper.{name}", resolver, use_cache=True)
    register_resolver("sweeper.mode", _mode, use_cache=False)
    register_resolver("sweeper.settings_help", _settings_help, use_cache=False)


def _trial_name(number: int) -> str:
    return f"{number:04d}"


def _mode(sweeper: Any) -> str | None:
    """Of a sweeper by its class: a study needs no -m, also where a file chooses it."""
    return "MULTIRUN" if "sweeper_optuna" in str(sweeper) else None


def _script_name(path: str, module: str | None) -> str:
    """Part of a study's: the module's, the file's without its suffix, of ``__main__.py`` its folder's."""
    file = Path(path)
    return module or (file.parent.name if file.stem == "__main__" else file.stem)


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
