"""Makes Optuna's samplers, or a user's own, as a configuration describes them."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    QMCSampler,
)

from sweeper.core.space import FloatRange, SearchSpace
from sweeper.errors import UsageError
from sweeper.search.distributions import parsed
from sweeper.search.named import class_of, made

# Our own: it chooses the points by itself, so Optuna's sampler beside it need not think.
GUIDED = "sweeper.search.guide.Guide"
_BESIDE_THE_GUIDE = {"_target_": "optuna.samplers.RandomSampler"}
# Said by Optuna once they are asked, which is after the first trial.
_NEEDS: Mapping[Any, tuple[str, ...]] = {
    CmaEsSampler: ("cmaes",),
    GPSampler: ("torch", "scipy"),
    QMCSampler: ("scipy",),
}


def is_guided(config: Mapping[str, Any]) -> bool:
    """Whether the sampler that is configured is our own."""
    return config.get("_target_") == GUIDED


def made_sampler(
    config: Mapping[str, Any], space: SearchSpace, seed: int | None, *, extended: bool = False
) -> BaseSampler:
    """``extended`` is a space that a hook adds to.

    Raises UsageError for a sampler that cannot be made, or cannot take a parameter of the space.
    """
    if is_guided(config):
        config = _BESIDE_THE_GUIDE
    target = str(config.get("_target_", ""))
    target = target if "." in target else f"optuna.samplers.{target}"
    try:
        cls = class_of(target)
    except Exception as error:  # importing a module of the user's runs it
        raise UsageError(_no_sampler(target)) from error
    _check_takes(cls, space, extended=extended)
    # The stock plugin's grid is partial: it is completed here.
    config = {**config, "_target_": target, "_partial_": False}
    if cls is GridSampler and "search_space" not in config:
        grid = {n: [parsed(d, t) for t in d.points() or ()] for n, d in space.parameters.items()}
        config["search_space"] = grid
    try:
        with warnings.catch_warnings():
            # The user chose the sampler by name: that Optuna calls it experimental is no news here.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            built = made(config, seed)
    except Exception as error:  # whatever a class raises that somebody names
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"the sampler {target} cannot be made: {told}; "
            "type hydra/sweeper/sampler=tpe for the default one"
        ) from error
    if not isinstance(built, BaseSampler):
        raise UsageError(_no_sampler(target))
    return built


def _no_sampler(target: str) -> str:
    return (
        f"hydra.sweeper.sampler._target_={target}: no such sampler; type for example "
        "hydra/sweeper/sampler=tpe, or hydra.sweeper.sampler._target_=optuna.samplers.TPESampler"
    )


def _check_takes(cls: Any, space: SearchSpace, *, extended: bool) -> None:
    for module in _NEEDS.get(cls, ()) if isinstance(cls, type) else ():
        if importlib.util.find_spec(module) is None:
            raise UsageError(
                f"the sampler {cls.__name__} needs {module}, which is not installed; type "
                f"pip install {module}, or hydra/sweeper/sampler=tpe"
            )
    if cls not in (GridSampler, BruteForceSampler):
        return
    if cls is GridSampler and extended:
        raise UsageError(
            "the sampler GridSampler goes through what is typed, and hydra.sweeper.custom_search_space "
            "adds to that; type hydra/sweeper/sampler=tpe"
        )
    for name, domain in space.parameters.items():
        endless = isinstance(domain, FloatRange) and domain.step is None
        if endless or (cls is GridSampler and domain.points() is None):
            raise UsageError(
                f"{name}: the sampler {cls.__name__} goes through a list of values, and an interval "
                f"has none; type {name}=range(<start>,<stop>,<step>), or hydra/sweeper/sampler=tpe"
            )
