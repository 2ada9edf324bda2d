"""Opens Optuna's studies: storage, sampler, and the distributions of a search space."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GridSampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sweeper.core.files import make_folder
from sweeper.core.objective import Direction
from sweeper.core.space import Choice, Domain, IntRange, SearchSpace
from sweeper.errors import UsageError

# Our own: it chooses the points by itself, so Optuna's sampler beside it need not think.
GUIDED = "sweeper.search.guide.Guide"
_JOURNAL = "journal:"
_MOST_CHANGES = 4  # of another work, in one line
_FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:([^},]+)(?:,([^}]*))?\}")
_BESIDE_THE_GUIDE = {"_target_": "optuna.samplers.RandomSampler"}


def open_study(
    *,
    space: SearchSpace,
    sampler: Mapping[str, Any],
    storage: str | None,
    journal: Path,
    study_name: str,
    directions: Sequence[Direction],
    seed: int | None,
    value_names: Sequence[str] | None = None,
    work: Mapping[str, Any] | None = None,
    resuming: bool = False,
) -> optuna.study.Study:
    """The study in its storage: a URL, ``journal:PATH``, or the journal file where None.

    ``value_names`` say what the values are, one for each direction, ``work`` what is trained and on
    what. ``resuming`` is a study that its folder has said to be the same.

    Raises UsageError for a sampler or storage that cannot be had, and for a study of that name
    which was made for another space or objective, or has trials of other work.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = _storage(storage, journal)
    built = _sampler(sampler, space, seed)
    try:
        study = optuna.create_study(
            storage=opened,
            sampler=built,
            study_name=study_name,
            directions=list(directions),
            load_if_exists=True,
        )
    except Exception as error:
        raise UsageError(_no_storage(storage or journal, error)) from error
    if work is not None:
        _check_work(study, work, storage or journal, resuming=resuming)
    if [d.name.lower() for d in study.directions] != list(directions):
        raise UsageError(
            f"the study {study_name} in {storage or journal} was made for another objective; "
            "type hydra.sweeper.study_name=<a new name>"
        )
    described = json.dumps({name: repr(domain) for name, domain in space.parameters.items()})
    stored = study.user_attrs.get("space")
    if stored is not None and stored != described:
        raise UsageError(
            f"the study {study_name} in {storage or journal} was made for another search space; "
            "type hydra.sweeper.study_name=<a new name>"
        )
    study.set_user_attr("space", described)
    if work is not None:
        study.set_user_attr("work", dict(work))
    if value_names is not None and study.metric_names != list(value_names):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(value_names))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Asked by a run that was killed; it is proposed again.
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _check_work(
    study: optuna.study.Study, work: Mapping[str, Any], where: Any, *, resuming: bool
) -> None:
    """A sampler would learn from another model's trials, and Optuna's tools would rank them together."""
    advice = "type hydra.sweeper.study_name=<a new name>"
    before = study.user_attrs.get("work")
    if before is None:
        if study.get_trials(deepcopy=False) and not resuming:
            raise UsageError(
                f"the study {study.study_name} in {where} has trials of which it is not written what "
                f"they trained; {advice}"
            )
        return
    changes = [
        f"{name} was {before.get(name)}, is {work.get(name)}"
        for name in dict.fromkeys([*work, *before])
        if before.get(name) != work.get(name)
    ]
    if changes:
        more = len(changes) - _MOST_CHANGES
        told = [*changes[:_MOST_CHANGES], *([f"and {more} more"] if more > 0 else [])]
        raise UsageError(
            f"the study {study.study_name} in {where} is of other work: {'; '.join(told)}; {advice}"
        )


def check_storage(storage: str | None) -> None:
    """Raises UsageError for one that cannot be had; makes no file."""
    if storage is None:
        return
    file = _file_of(storage)
    if file is None or file.exists():
        _storage(storage, Path())
    elif not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        why = "may not be written" if file.parent.is_dir() else "is no folder"
        raise UsageError(_no_storage(storage, f"{file.parent} {why}"))


def _file_of(storage: str) -> Path | None:
    """Where a storage in a file is; None for one elsewhere."""
    for scheme in (_JOURNAL, "sqlite:///"):
        if storage.startswith(scheme) and (path := storage.removeprefix(scheme)):
            return Path(path.partition("?")[0]) if scheme != _JOURNAL else Path(path)
    return None


def _no_storage(storage: Any, why: object) -> str:
    lines = str(why).splitlines() or [type(why).__name__]
    return (
        f"hydra.sweeper.storage={storage}: {lines[0]}; allowed are a database URL, "
        "journal:PATH and null (a journal in the study's folder); "
        "type for example hydra.sweeper.storage=sqlite:///study.db"
    )


def opened_storage(recorded: str) -> str | None:
    """The URL that study.yaml tells of; None where what it lacks is not here: a variable, or a password."""
    missing = False

    def value(found: re.Match[str]) -> str:
        nonlocal missing
        given = os.environ.get(found[1].strip(), found[2])
        missing |= given is None
        return (given or "").strip().strip("'\"")

    url = _FROM_ENVIRONMENT.sub(value, recorded)
    return None if missing or "${" in url or "***" in url else url


def is_guided(sampler: Mapping[str, Any]) -> bool:
    """Whether the sampler that is configured is our own."""
    return sampler.get("_target_") == GUIDED


def load_study(storage: str | None, journal: Path, study_name: str) -> optuna.study.Study | None:
    """An existing study; None where it is not there."""
    if storage is None and not journal.exists():
        return None
    try:
        return optuna.load_study(study_name=study_name, storage=_storage(storage, journal))
    except KeyError:
        return None


def _storage(storage: str | None, journal: Path) -> BaseStorage:
    if storage is None:
        make_folder(journal.parent)
        return JournalStorage(JournalFileBackend(str(journal)))
    try:
        if storage.startswith(_JOURNAL):
            path = storage.removeprefix(_JOURNAL)
            if not path:
                raise ValueError("no path was given")
            return JournalStorage(JournalFileBackend(path))
        return optuna.storages.get_storage(storage)
    except Exception as error:
        raise UsageError(_no_storage(storage, error)) from error


def check_sampler(config: Mapping[str, Any]) -> Any:
    """Its class. Raises UsageError where there is none of the name."""
    target = str(config.get("_target_", ""))
    module_name, _, class_name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name or "optuna.samplers"), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"hydra.sweeper.sampler._target_={target}: no such sampler; type for example "
            "hydra/sweeper/sampler=tpe, or hydra.sweeper.sampler._target_=optuna.samplers.TPESampler"
        ) from error


def _sampler(config: Mapping[str, Any], space: SearchSpace, seed: int | None) -> BaseSampler:
    if is_guided(config):
        config = _BESIDE_THE_GUIDE
    target = str(config.get("_target_", ""))
    arguments = {name: value for name, value in config.items() if name != "_target_"}
    cls = check_sampler(config)
    if "seed" in inspect.signature(cls).parameters and arguments.get("seed") is None:
        arguments["seed"] = seed
    if cls is GridSampler and "search_space" not in arguments:
        arguments["search_space"] = {
            name: [parsed(domain, text) for text in domain.points() or ()]
            for name, domain in space.parameters.items()
        }
    try:
        with warnings.catch_warnings():
            # The user chose the sampler by name: that Optuna calls it experimental is no news here.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            built: BaseSampler = cls(**arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise UsageError(
            f"the sampler {target} cannot be made: {str(error).splitlines()[0]}; "
            "type hydra/sweeper/sampler=tpe for the default one"
        ) from error
    return built


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
