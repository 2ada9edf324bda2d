"""A search space's domains as Optuna describes them, and its values as they are typed."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweeper.core.space import Choice, Domain, IntRange


def distribution_of(domain: Domain) -> BaseDistribution:
    """As Optuna describes it; what is typed is kept as text where there are a few choices."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def suggested(trial: optuna.trial.Trial, name: str, domain: Domain) -> Any:
    """What Optuna's sampler makes of a parameter."""
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, domain.values)
    if isinstance(domain, IntRange):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log, step=domain.step)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log, step=domain.step)


def parsed(domain: Domain, text: str) -> Any:
    """The value that Optuna keeps for what is typed."""
    if isinstance(domain, Choice):
        return text
    return int(text) if isinstance(domain, IntRange) else float(text)


def typed(distribution: BaseDistribution | None, value: Any) -> str:
    """The inverse of ``parsed``."""
    if isinstance(distribution, CategoricalDistribution) or not isinstance(value, float):
        return str(value)
    return repr(value)
