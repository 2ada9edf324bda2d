"""Opens Optuna's studies: a new one, or one that is of the same work."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from sweeper.core.objective import Direction
from sweeper.core.space import SearchSpace
from sweeper.errors import UsageError
from sweeper.search.samplers import made_sampler
from sweeper.search.storages import Configured, no_storage, open_storage

_MOST_CHANGES = 4  # of another work, in one line


def open_study(
    *,
    space: SearchSpace,
    sampler: Mapping[str, Any],
    storage: Configured,
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
    opened = open_storage(storage, journal)
    built = made_sampler(sampler, space, seed)
    try:
        study = optuna.create_study(
            storage=opened,
            sampler=built,
            study_name=study_name,
            directions=list(directions),
            load_if_exists=True,
        )
    except Exception as error:
        raise UsageError(no_storage(storage or journal, error)) from error
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


def load_study(storage: Configured, journal: Path, study_name: str) -> optuna.study.Study | None:
    """An existing study; None where it is not there."""
    if storage is None and not journal.exists():
        return None
    try:
        return optuna.load_study(study_name=study_name, storage=open_storage(storage, journal))
    except KeyError:
        return None
