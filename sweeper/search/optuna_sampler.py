"""The door to Optuna: proposes points of a search space, and keeps what became of them."""

from __future__ import annotations

import importlib
import inspect
import json
import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from optuna.trial import TrialState, create_trial

from sweeper.core.outcome import Crashed, Infeasible, Measured, OutOfMemory, kind_of, reason_of
from sweeper.core.space import Choice, Domain, IntRange, Point, SearchSpace
from sweeper.core.trial import Trial
from sweeper.errors import UsageError

CONSTRAINT = "fits"
# After so many known points in a row a finite space is searched for one that is not known.
MAX_KNOWN_IN_A_ROW = 10
MAX_ENUMERATED = 100_000
# How far a trial got before memory ran out grades how far off it is.
_PHASE_VIOLATION = {"build": 1.0, "initialize": 0.75, "warm-up": 0.5, "measure": 0.25}

Extend = Callable[[optuna.trial.Trial], None]
Acts = Callable[[str, Point], bool]


def _always(name: str, point: Point) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class OptunaProposal:
    """``trial`` is None for a point that lies outside the space (a baseline of the user's own)."""

    point: Point
    trial: optuna.trial.Trial | None


class OptunaSampler:
    """``extend`` may suggest further parameters on a trial (the stock sweeper's custom_search_space).

    ``acts`` says whether a parameter does anything beside the part of a point that comes before it in
    the space: where it does not, it is not sampled and is no part of the point.
    """

    def __init__(
        self,
        space: SearchSpace,
        study: optuna.study.Study,
        *,
        seed: int | None,
        extend: Extend | None = None,
        acts: Acts = _always,
    ) -> None:
        self._acts = acts
        self._space = space
        self._study = study
        self._extend = extend
        self._random = random.Random(seed)
        self._distributions = {n: _distribution(d) for n, d in space.parameters.items()}
        self._known: dict[str, Trial | None] = {}
        self._exhausted = False

    def ask(self) -> OptunaProposal | None:
        if not self._space.parameters and self._extend is None:
            return None  # nothing varies: the baseline is the only point
        for _ in range(MAX_KNOWN_IN_A_ROW):
            if self._exhausted:
                return None
            proposal = self._ask()
            if _identity(proposal.point) not in self._known:
                return self._noted(proposal)
            known = self._known[_identity(proposal.point)]
            if known is None:
                self.give_up(proposal)
            else:
                self.tell(proposal, known, repeat=True)
        unknown = self._unknown_point()
        return None if unknown is None else self.propose(unknown)

    def propose(self, point: Point) -> OptunaProposal:
        point = self._acting(point)
        if not self._holds(point):
            return self._noted(OptunaProposal(point=point, trial=None))
        self._study.enqueue_trial(
            {name: _parsed(self._space.parameters[name], text) for name, text in point.items()}
        )
        return self._noted(self._ask())

    def tell(self, proposal: OptunaProposal, trial: Trial, *, repeat: bool) -> None:
        self._known[_identity(proposal.point)] = trial
        asked = proposal.trial
        if asked is None:
            # Not a trial of Optuna's: one without parameters would leave its samplers no
            # parameter that all trials share.
            self._study.set_user_attr("baseline", {"trial": trial.number, **_summary(trial)})
            return
        asked.set_user_attr("repeats_trial" if repeat else "trial", trial.number)
        for name, value in _summary(trial).items():
            asked.set_user_attr(name, value)
        if isinstance(trial.outcome, Crashed):
            self._tell(asked, TrialState.FAIL)
            return
        asked.set_constraint(CONSTRAINT, _violation(trial))
        if isinstance(trial.outcome, Measured):
            value = trial.outcome.measurement.tokens_per_second
            self._tell(asked, TrialState.COMPLETE, value)
        else:
            self._tell(asked, TrialState.PRUNED)

    def replay(self, trial: Trial) -> None:
        """Makes Optuna know a trial that ended in an earlier run of the study."""
        self._known[_identity(trial.point)] = trial
        if trial.number in {
            t.user_attrs.get("trial") for t in self._study.get_trials(deepcopy=False)
        }:
            return
        if not self._holds(trial.point):
            self._study.set_user_attr("baseline", {"trial": trial.number, **_summary(trial)})
            return
        self._add(trial, {"trial": trial.number})

    def learn(self, trial: Trial, source: str) -> None:
        """Takes a trial of another study as evidence: it is neither a result nor known here."""
        if self._holds(trial.point) and isinstance(trial.outcome, Measured | OutOfMemory):
            self._add(trial, {"evidence_from": source})

    def _add(self, trial: Trial, attributes: dict[str, Any]) -> None:
        crashed = isinstance(trial.outcome, Crashed)
        measured = isinstance(trial.outcome, Measured)
        state = TrialState.COMPLETE if measured else TrialState.PRUNED
        self._study.add_trial(
            create_trial(
                state=TrialState.FAIL if crashed else state,
                value=trial.outcome.measurement.tokens_per_second
                if isinstance(trial.outcome, Measured)
                else None,
                params={n: _parsed(self._space.parameters[n], v) for n, v in trial.point.items()},
                distributions={name: self._distributions[name] for name in trial.point},
                user_attrs={**attributes, **_summary(trial)},
                constraints=None if crashed else {CONSTRAINT: _violation(trial)},
            )
        )

    def _holds(self, point: Point) -> bool:
        """Whether the sampler could have asked for it."""
        parameters = self._space.parameters
        return (
            set(point) <= set(parameters)
            and all(_contains(parameters[name], text) for name, text in point.items())
            and not any(self._acts(name, point) for name in parameters if name not in point)
        )

    def _acting(self, point: Point) -> Point:
        """Without the parameters that do nothing beside the others; what is no parameter stays."""
        acting = {name: text for name, text in point.items() if name not in self._space.parameters}
        for name in self._space.parameters:
            if name in point and self._acts(name, acting):
                acting[name] = point[name]
        return acting

    def give_up(self, proposal: OptunaProposal) -> None:
        if proposal.trial is not None:
            proposal.trial.set_user_attr("outcome", "interrupted")
            self._tell(proposal.trial, TrialState.FAIL)

    def _ask(self) -> OptunaProposal:
        trial = self._study.ask()
        point: dict[str, str] = {}
        for name, domain in self._space.parameters.items():
            if self._acts(name, point):
                point[name] = _typed(self._distributions[name], _suggested(trial, name, domain))
        if self._extend is not None:
            self._extend(trial)
            more = {n: v for n, v in trial.params.items() if n not in self._distributions}
            point |= {name: _typed(None, value) for name, value in more.items()}
        return OptunaProposal(point=point, trial=trial)

    def _noted(self, proposal: OptunaProposal) -> OptunaProposal:
        self._known.setdefault(_identity(proposal.point), None)
        return proposal

    def _tell(
        self, trial: optuna.trial.Trial | None, state: TrialState, value: float | None = None
    ) -> None:
        assert trial is not None
        try:
            self._study.tell(trial, value, state=state)
        except RuntimeError:
            # Grid and brute-force samplers call Study.stop() when they are through, which Optuna
            # refuses outside optimize(); the trial is stored all the same.
            if self._study.get_trials(deepcopy=False)[trial.number].state != state:
                raise
            self._exhausted = True

    def _unknown_point(self) -> Point | None:
        size = self._space.size
        if size is None or size > MAX_ENUMERATED or self._extend is not None:
            return None
        acting = map(self._acting, self._space.points())
        unknown = [point for point in acting if _identity(point) not in self._known]
        return self._random.choice(unknown) if unknown else None


def open_study(
    *,
    space: SearchSpace,
    sampler: Mapping[str, Any],
    storage: str | None,
    journal: Path,
    study_name: str,
    direction: str,
    seed: int | None,
) -> optuna.study.Study:
    """The study in its storage: a URL, ``journal:PATH``, or the journal file where None.

    Raises UsageError for a sampler or storage that cannot be had, and for a study of that name
    which was made for another space.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if direction != "maximize":
        raise UsageError(
            f"hydra.sweeper.direction={direction}: the objective is tokens/s, and more is better; "
            "type hydra.sweeper.direction=maximize"
        )
    opened = _storage(storage, journal)
    built = _sampler(sampler, space, seed)
    study = optuna.create_study(
        storage=opened,
        sampler=built,
        study_name=study_name,
        direction="maximize",
        load_if_exists=True,
    )
    described = json.dumps({name: repr(domain) for name, domain in space.parameters.items()})
    stored = study.user_attrs.get("space")
    if stored is not None and stored != described:
        raise UsageError(
            f"the study {study_name} in {storage or journal} was made for another search space; "
            "type hydra.sweeper.study_name=<a new name>"
        )
    study.set_user_attr("space", described)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Asked by a run that was killed; it is proposed again.
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def load_study(storage: str | None, journal: Path, study_name: str) -> optuna.study.Study | None:
    """An existing study; None where it is not there."""
    if storage is None and not journal.exists():
        return None
    try:
        return optuna.load_study(study_name=study_name, storage=_storage(storage, journal))
    except KeyError:
        return None


def importances(study: optuna.study.Study) -> dict[str, float]:
    """Each parameter's share in how the measured throughputs differ; empty where it cannot be told."""
    try:
        with warnings.catch_warnings():
            # Too few trials, or all alike: Optuna then makes all equal, which would look like a finding.
            warnings.simplefilter("error", UserWarning)
            return dict(optuna.importance.get_param_importances(study))
    except (ValueError, RuntimeError, ImportError, UserWarning):
        return {}  # too few measured trials, or nothing that varies


def _storage(storage: str | None, journal: Path) -> BaseStorage:
    if storage is None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(journal)))
    if storage.startswith("journal:"):
        return JournalStorage(JournalFileBackend(storage.removeprefix("journal:")))
    try:
        return optuna.storages.get_storage(storage)
    except Exception as error:
        raise UsageError(
            f"hydra.sweeper.storage={storage}: {str(error).splitlines()[0]}; allowed are a database URL, "
            "journal:PATH and null (a journal in the study's folder); "
            "type for example hydra.sweeper.storage=sqlite:///study.db"
        ) from error


def _sampler(config: Mapping[str, Any], space: SearchSpace, seed: int | None) -> BaseSampler:
    target = str(config.get("_target_", ""))
    arguments = {name: value for name, value in config.items() if name != "_target_"}
    module_name, _, class_name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name or "optuna.samplers"), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"hydra.sweeper.sampler._target_={target}: no such sampler; type for example "
            "hydra/sweeper/sampler=tpe, or hydra.sweeper.sampler._target_=optuna.samplers.TPESampler"
        ) from error
    if "seed" in inspect.signature(cls).parameters and arguments.get("seed") is None:
        arguments["seed"] = seed
    if cls is GridSampler and "search_space" not in arguments:
        arguments["search_space"] = {
            name: [_parsed(domain, text) for text in domain.points() or ()]
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


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _suggested(trial: optuna.trial.Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, domain.values)
    if isinstance(domain, IntRange):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log, step=domain.step)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log, step=domain.step)


def _parsed(domain: Domain, text: str) -> Any:
    """The value that Optuna keeps for what is typed."""
    if isinstance(domain, Choice):
        return text
    return int(text) if isinstance(domain, IntRange) else float(text)


def _typed(distribution: BaseDistribution | None, value: Any) -> str:
    if isinstance(distribution, CategoricalDistribution) or not isinstance(value, float):
        return str(value)
    return repr(value)


def _contains(domain: Domain, text: str) -> bool:
    points = domain.points()
    return points is None or text in points


def _identity(point: Point) -> str:
    return json.dumps(dict(point), sort_keys=True)


def _violation(trial: Trial) -> float:
    """Optuna's convention: above 0 it does not fit, and the more the worse."""
    outcome = trial.outcome
    if isinstance(outcome, Measured):
        limit = trial.memory_limit_bytes
        return min(outcome.measurement.peak_bytes / limit - 1, 0.0) if limit else -1.0
    if isinstance(outcome, Infeasible):
        return outcome.violation
    if isinstance(outcome, OutOfMemory):
        return _PHASE_VIOLATION.get(outcome.phase, 1.0)
    return 1.0


def _summary(trial: Trial) -> dict[str, Any]:
    """What a person sees of a trial in Optuna's own tools."""
    if isinstance(trial.outcome, Measured):
        measurement = trial.outcome.measurement
        return {
            "outcome": kind_of(trial.outcome),
            "tokens_per_second": measurement.tokens_per_second,
            "peak_bytes": measurement.peak_bytes,
        }
    return {"outcome": kind_of(trial.outcome), "reason": reason_of(trial.outcome)}
