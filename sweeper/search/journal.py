"""A study's own journal of Optuna's, written anew from its trials."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.core.files import make_way, remove
from sweeper.core.objective import Objective
from sweeper.core.space import Choice, Domain, FloatRange, IntRange, SearchSpace
from sweeper.core.trial import Trial
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import load_study, open_study
from sweeper.search.samplers import GUIDED

_RANGES: Mapping[str, type[IntRange] | type[FloatRange]] = {
    "IntRange": IntRange,
    "FloatRange": FloatRange,
}


def numbers_in(journal: Path, study_name: str | None) -> set[int] | None:
    """Of which of our trials it tells, or of any study's where None; None where it cannot be read."""
    if not journal.is_file():
        return None
    try:
        if study_name is None:
            load_study(None, journal, "")
            return set()
        study = load_study(None, journal, study_name)
        if study is None:
            return None
        told = [trial.user_attrs.get("trial") for trial in study.get_trials(deepcopy=False)]
        told.append((study.user_attrs.get("baseline") or {}).get("trial"))
    except Exception:  # whatever Optuna makes of half a line
        return None
    return {number for number in told if isinstance(number, int)}


def space_of(study: Mapping[str, Any]) -> SearchSpace | None:
    """Of what study.yaml holds; None where it does not tell."""
    listed, ranges = study.get("space"), study.get("ranges") or {}
    if not isinstance(listed, dict):
        return None
    found = {name: _domain(ranges.get(name, value)) for name, value in listed.items()}
    parameters = {str(name): domain for name, domain in found.items() if domain is not None}
    return SearchSpace(parameters=parameters) if len(parameters) == len(listed) else None


def _domain(described: Any) -> Domain | None:
    if isinstance(described, list):
        return Choice(values=tuple(map(str, described))) if described else None
    try:
        call = ast.parse(str(described), mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        values = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        return _RANGES[call.func.id](**values)
    except (SyntaxError, ValueError, AssertionError, KeyError, TypeError):
        return None


def write_journal(
    journal: Path,
    *,
    space: SearchSpace,
    trials: Sequence[Trial],
    objective: Objective,
    study_name: str,
) -> None:
    """In the place of what is there, and of its lock, once it is whole."""
    anew = journal.with_name(f".{journal.name}.{os.getpid()}.tmp")
    try:
        study = open_study(
            space=space,
            sampler={"_target_": GUIDED},
            storage=None,
            journal=anew,
            study_name=study_name,
            directions=objective.directions,
            value_names=objective.value_names,
            seed=None,
        )
        sampler = OptunaSampler(space, study, seed=None, objective=objective, acts=_as_recorded)
        for trial in trials:
            sampler.replay(trial)
        make_way(journal)
        os.replace(anew, journal)
    finally:
        for left in journal.parent.glob(f"{anew.name}*"):
            remove(left)
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        remove(lock)


def _as_recorded(name: str, point: Mapping[str, str]) -> bool:
    """A parameter that is not in a trial's point did nothing there; a baseline may be no point at all."""
    return name in point or not point
