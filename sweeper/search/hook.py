"""Tries a user's hook, which suggests parameters on Optuna's trials, once: on a study of no consequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna

from sweeper.core.space import SearchSpace
from sweeper.search.distributions import suggested


def tried(hook: Callable[[Any], None], space: SearchSpace) -> Mapping[str, Any]:
    """What it suggests beside a point of the space. Raises what the hook raises."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    for name, domain in space.parameters.items():
        suggested(trial, name, domain)
    hook(trial)
    return {name: value for name, value in trial.params.items() if name not in space.parameters}
