"""The sampler of a study, as its options ask for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from sweeper.core.folder import StudyFolder
from sweeper.core.objective import Objective
from sweeper.core.space import Point, SearchSpace
from sweeper.errors import UsageError
from sweeper.hydra_edge.conditions import Conditions
from sweeper.hydra_edge.schema import SAMPLERS


def open_sampler(
    options: Mapping[str, Any],
    space: SearchSpace,
    *,
    conditions: Conditions,
    likelihood: Callable[[Point], float],
    objective: Objective,
    folder: StudyFolder,
    config: DictConfig,
    num_finished: int,
    work: Mapping[str, Any],
) -> Any:
    """Knows of no trial yet, also where some have ended before. Raises UsageError for bad options."""
    from sweeper.search.optuna_sampler import OptunaSampler
    from sweeper.search.optuna_study import open_study
    from sweeper.search.samplers import is_guided

    check_directions(options.get("direction"), objective)
    extend = hook_of(options.get("custom_search_space"), config)
    sampler, seed = _sampler_and_seed(options)
    if options.get("storage") is None:
        # The folders hold the facts: a journal that is here was left by a run that was killed. It may
        # end in half a line, and the lock beside it would be waited for; it is written anew.
        for path in folder.path.glob(f"{folder.journal.name}*"):
            path.unlink(missing_ok=True)
    guided = is_guided(sampler)
    by_optuna = extend is not None or len(objective.directions) > 1
    study = open_study(
        space=space,
        sampler=SAMPLERS["tpe"] if guided and by_optuna else sampler,
        storage=options.get("storage"),
        journal=folder.journal,
        study_name=options.get("study_name") or folder.path.name,
        directions=objective.directions,
        value_names=objective.value_names,
        work=work,
        resuming=bool(options.get("resume")),
        # Another seed for the rest, else a sampler would draw what it drew before.
        seed=None if seed is None else seed + num_finished,
    )
    return OptunaSampler(
        space,
        study,
        seed=seed,
        extend=extend,
        acts=conditions.acts,
        likelihood=likelihood,
        objective=objective,
        guided=guided,
    )


def _sampler_and_seed(options: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The seed is the study's, unless the sampler has one of its own, where the stock plugin has it."""
    sampler = dict(options["sampler"])
    own_seed = sampler.pop("seed", None)
    return sampler, options.get("seed") if own_seed is None else own_seed


def check_sampler(options: Mapping[str, Any], space: SearchSpace, *, extended: bool) -> None:
    """Raises UsageError for one that cannot be made, or not for this space; ``extended`` is by a hook."""
    from sweeper.search.samplers import is_guided, made_sampler

    if not isinstance(options["sampler"], Mapping):
        raise UsageError(
            f"hydra.sweeper.sampler={options['sampler']}: a sampler is one of {', '.join(SAMPLERS)}; type "
            "hydra/sweeper/sampler=tpe"
        )
    sampler, seed = _sampler_and_seed(options)
    if is_guided(sampler) and (unknown := [name for name in sampler if name[0] != "_"]):
        raise UsageError(
            f"hydra.sweeper.sampler.{unknown[0]}={sampler[unknown[0]]}: the sampler guided takes a "
            "seed alone; type hydra/sweeper/sampler=tpe for one of Optuna's"
        )
    made_sampler(sampler, space, seed, extended=extended)


def check_storage_of(options: Mapping[str, Any]) -> None:
    """Raises UsageError for a storage that cannot be had."""
    if options.get("storage") is None:
        return
    from sweeper.search.storages import check_storage

    check_storage(options["storage"])


def check_directions(given: Any, objective: Objective) -> None:
    """The objective decides; a direction that is typed, as for the stock plugin, must agree."""
    if given is None:
        return
    typed = [given] if isinstance(given, str) else list(given)
    if typed != list(objective.directions):
        wanted = ",".join(objective.directions)
        wanted = f"[{wanted}]" if len(objective.directions) > 1 else wanted
        raise UsageError(
            f"hydra.sweeper.direction={','.join(map(str, typed))}: objective={objective.kind} is in "
            f"{objective.unit}; type hydra.sweeper.direction={wanted}, or leave it out"
        )


@dataclass(frozen=True, slots=True)
class Hook:
    """The stock plugin's: a function of the configuration and Optuna's trial that suggests more."""

    function: Callable[[DictConfig, Any], None]
    config: DictConfig

    def __call__(self, trial: Any) -> None:
        self.function(self.config, trial)

    @property
    def file(self) -> str | None:
        """Where it is written, as far as that is known."""
        code = getattr(self.function, "__code__", None)
        return None if code is None else str(code.co_filename)


def hook_of(dotted: Any, config: DictConfig) -> Hook | None:
    """Raises UsageError for one that is not to be had."""
    if dotted is None:
        return None
    module_name, _, name = str(dotted).rpartition(".")
    typed = f"hydra.sweeper.custom_search_space={dotted}"
    wanted = (
        "give package.module.function, a function of (config, trial), or type "
        "hydra.sweeper.custom_search_space=null for none"
    )
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # importing it runs the user's own code
        raise UsageError(f"{typed}: cannot be imported ({error}); {wanted}") from error
    if not callable(function):
        raise UsageError(f"{typed}: is {type(function).__name__}, and no function; {wanted}")
    return Hook(function, config)
