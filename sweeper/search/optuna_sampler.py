"""Proposes points of a search space, and keeps in Optuna's study what became of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from sweeper.core.evidence import Evidence, Expected, best_points, expected_gains
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import (
    Crashed,
    Infeasible,
    Measured,
    OutOfMemory,
    kind_of,
    measurement_of,
    reason_of,
)
from sweeper.core.space import Identity, Point, SearchSpace, identity
from sweeper.core.trial import Trial
from sweeper.search.dashboard import constraints, set_constraint
from sweeper.search.distributions import distribution_of, parsed, suggested, typed
from sweeper.search.guide import Guide, Result

# After so many known or unlikely points in a row a finite space is searched for one that is neither.
MAX_PASSED_OVER = 10
MAX_ENUMERATED = 100_000
# How far a trial got before memory ran out grades how far off it is.
_PHASE_VIOLATION = {"build": 1.0, "initialize": 0.75, "warm-up": 0.5, "measure": 0.25}
# An earlier study's results, carried over to this one's baseline, are off by about so much (as a share).
_EVIDENCE_ERROR = 0.1
# Of its best points so many are tried first, where a sampler of Optuna's chooses the rest.
_MAX_FIRST = 5

Extend = Callable[[optuna.trial.Trial], None]
Acts = Callable[[str, Point], bool]
Likelihood = Callable[[Point], float]


def _always(name: str, point: Point) -> bool:
    return True


def _surely(point: Point) -> float:
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptunaProposal:
    """``trial`` is None where Optuna did not choose the point: it learns of it when it is told."""

    point: Point
    trial: optuna.trial.Trial | None


class OptunaSampler:
    """``extend`` may suggest further parameters on a trial (the stock sweeper's custom_search_space).

    ``acts`` says whether a parameter does anything beside the part of a point that comes before it in
    the space: where it does not, it is not sampled and is no part of the point. ``likelihood`` says how
    likely a point is to be legal and to fit: below one half it waits until there is nothing better.
    With ``guided`` our own guide chooses the points, else the study's sampler.
    """

    def __init__(
        self,
        space: SearchSpace,
        study: optuna.study.Study,
        *,
        seed: int | None,
        extend: Extend | None = None,
        acts: Acts = _always,
        likelihood: Likelihood = _surely,
        objective: Objective = THROUGHPUT,
        guided: bool = False,
    ) -> None:
        self._acts = acts
        self._space = space
        self._study = study
        self._extend = extend
        self._likelihood = likelihood
        self._objective = objective
        self._random = random.Random(seed)
        self._distributions = {n: distribution_of(d) for n, d in space.parameters.items()}
        self._known: dict[Identity, Trial | None] = {}
        self._waiting: list[tuple[float, Point]] = []
        self._evidence: Evidence | None = None
        self._first: list[Point] = []
        self._replayed: set[Any] | None = None
        self._exhausted = False
        self._guide: Guide | None = None
        # A front has no single best to improve on, and a hook's parameters are not in the space.
        if guided and extend is None and len(objective.directions) == 1:
            self._guide = Guide(space, seed=seed, acting=self._acting, likelihood=likelihood)

    @property
    def why_nothing_is_left(self) -> str:
        """Said when ``ask`` has returned None."""
        if self._guide is not None and self._guide.why_nothing_is_left:
            return self._guide.why_nothing_is_left
        return "every candidate of the space has been tried"

    def ask(self) -> OptunaProposal | None:
        if not self._space.parameters and self._extend is None:
            return None  # nothing varies: the baseline is the only point
        if self._guide is not None:
            point = self._guide.choose(self._is_known)
            return None if point is None else self.propose(point)
        while self._first:
            point = self._first.pop(0)
            if not self._is_known(point) and self._likelihood(point) >= 0.5:
                return self.propose(point)
        return self._ask_optuna()

    def _ask_optuna(self) -> OptunaProposal | None:
        for _ in range(MAX_PASSED_OVER):
            if self._exhausted:
                return None
            proposal = self._ask(self._extend)
            if not self._is_known(proposal.point):
                chance = self._likelihood(proposal.point)
                if chance == 0.0 or chance >= 0.5:
                    return self._noted(
                        proposal
                    )  # one that cannot be run is told so, with its grade
                self._waiting.append((chance, proposal.point))
                self._noted(proposal)
                self.give_up(proposal)
                continue
            known = self._known[identity(proposal.point)]
            if known is None:
                self.give_up(proposal)
            else:
                self.tell(proposal, known, repeat=True)
        unknown = self._unknown_point()
        if unknown is None and self._waiting:
            self._waiting.sort(key=lambda pair: pair[0])
            unknown = self._waiting.pop()[1]
        return None if unknown is None else self.propose(unknown)

    def propose(self, point: Point) -> OptunaProposal:
        point = self._acting(point)
        if self._guide is not None or not self.holds(point):
            return self._noted(OptunaProposal(point=point, trial=None))
        self._study.enqueue_trial(
            {name: parsed(self._space.parameters[name], text) for name, text in point.items()}
        )
        # As it is: a hook's parameters would make another point of it, also of the user's own options.
        return self._noted(self._ask(extend=None))

    def tell(self, proposal: OptunaProposal, trial: Trial, *, repeat: bool) -> None:
        self._known[identity(proposal.point)] = trial
        self._learned(proposal.point, trial)
        asked = proposal.trial
        relation = "repeats_trial" if repeat else "trial"
        if asked is None:
            self._record(proposal.point, trial, relation)
            return
        asked.set_user_attr(relation, trial.number)
        for name, value in _summary(trial).items():
            asked.set_user_attr(name, value)
        if isinstance(trial.outcome, Crashed):
            self._tell(asked, TrialState.FAIL)
            return
        set_constraint(asked, self._violation(trial))
        measurement = measurement_of(trial.outcome)
        if measurement is not None:
            self._tell(asked, TrialState.COMPLETE, self._objective.values(measurement))
        else:
            self._tell(asked, TrialState.PRUNED)

    def replay(self, trial: Trial) -> None:
        """Makes Optuna know a trial that ended in an earlier run of the study."""
        self._known[identity(trial.point)] = trial
        self._learned(trial.point, trial)
        if self._replayed is None:
            trials = self._study.get_trials(deepcopy=False)
            self._replayed = {t.user_attrs.get("trial") for t in trials}
        if trial.number not in self._replayed:
            self._record(trial.point, trial, "trial")

    def _record(self, point: Point, trial: Trial, relation: str) -> None:
        """In one write, which is also the quickest."""
        if not self.holds(point):
            # Not a trial of Optuna's: one without parameters would leave its samplers no
            # parameter that all trials share.
            self._study.set_user_attr("baseline", {"trial": trial.number, **_summary(trial)})
            return
        measurement = measurement_of(trial.outcome)
        values = None if measurement is None else self._objective.values(measurement)
        self._add(point, trial, values, {relation: trial.number})

    def learn(self, evidence: Evidence) -> None:
        """Takes an earlier study's trials as evidence; before this one's are replayed or told.

        Optuna is not told: it would rank them, and show the best of them as this study's. The guide
        expects of a point what it gained there over the baseline, once this study has one; another
        sampler tries the best points of there first.
        """
        if self._guide is None:
            best = best_points(evidence.trials, self._objective)
            self._first = [point for point in best if self.holds(point)][:_MAX_FIRST]
            return
        self._evidence = evidence
        for point in filter(self.holds, evidence.too_large):
            self._guide.learn(Result(point=point, score=None, is_evidence=True))

    def give_up(self, proposal: OptunaProposal) -> None:
        if proposal.trial is not None:
            proposal.trial.set_user_attr("outcome", "not run")
            self._tell(proposal.trial, TrialState.FAIL)

    def _learned(self, point: Point, trial: Trial) -> None:
        if trial.number == 0:
            self._objective = self._objective.beside(trial)
        if self._guide is None:
            return
        if self.holds(point):
            self._guide.learn(_result(point, trial, self._objective))
        if trial.number == 0 and self._evidence is not None:
            earlier, self._evidence = self._evidence, None
            for expected in expected_gains(earlier.trials, trial, self._objective):
                if self.holds(expected.point):
                    self._guide.learn(_evidence(expected, is_of_here=earlier.same_work))

    def _add(self, point: Point, trial: Trial, values: Any, attributes: dict[str, Any]) -> None:
        crashed = isinstance(trial.outcome, Crashed)
        state = TrialState.COMPLETE if values is not None else TrialState.PRUNED
        added = create_trial(
            state=TrialState.FAIL if crashed else state,
            values=None if values is None else list(values),
            params={n: parsed(self._space.parameters[n], v) for n, v in point.items()},
            distributions={name: self._distributions[name] for name in point},
            user_attrs={**attributes, **_summary(trial)},
            system_attrs=None if crashed else constraints(self._violation(trial)),
        )
        if "trial" in attributes and trial.started_at:
            added.intermediate_values = self._by_step(trial)
            added.datetime_start = datetime.fromtimestamp(trial.started_at)
            ended_at = trial.started_at + trial.wall_seconds
            added.datetime_complete = datetime.fromtimestamp(ended_at)
        self._study.add_trial(added)

    def _by_step(self, trial: Trial) -> dict[int, float]:
        """Tokens/s of each timed step; Optuna has them for a single objective alone."""
        m = measurement_of(trial.outcome)
        if m is None or len(self._objective.directions) > 1:
            return {}
        rates = (m.tokens_per_step / seconds for seconds in m.step_seconds)
        return {step: float(f"{rate:.6g}") for step, rate in enumerate(rates)}

    def holds(self, point: Point) -> bool:
        """Whether the sampler could have asked for it."""
        parameters = self._space.parameters
        return (
            set(point) <= set(parameters)
            and all(parameters[name].holds(text) for name, text in point.items())
            and not any(self._acts(name, point) for name in parameters if name not in point)
        )

    def _acting(self, point: Point) -> Point:
        """Without the parameters that do nothing beside the others; what is no parameter stays."""
        acting = {name: text for name, text in point.items() if name not in self._space.parameters}
        for name in self._space.parameters:
            if name in point and self._acts(name, acting):
                acting[name] = point[name]
        return acting

    def _is_known(self, point: Point) -> bool:
        return identity(point) in self._known

    def _ask(self, extend: Extend | None) -> OptunaProposal:
        trial = self._study.ask()
        point: dict[str, str] = {}
        for name, domain in self._space.parameters.items():
            if self._acts(name, point):
                point[name] = typed(self._distributions[name], suggested(trial, name, domain))
        if extend is not None:
            extend(trial)
            more = {n: v for n, v in trial.params.items() if n not in self._distributions}
            point |= {name: typed(None, value) for name, value in more.items()}
        return OptunaProposal(point=point, trial=trial)

    def _noted(self, proposal: OptunaProposal) -> OptunaProposal:
        self._known.setdefault(identity(proposal.point), None)
        return proposal

    def _tell(self, trial: optuna.trial.Trial, state: TrialState, values: Any = None) -> None:
        try:
            self._study.tell(trial, values, state=state)
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
        unknown = [point for point in acting if not self._is_known(point)]
        return self._random.choice(unknown) if unknown else None

    def _violation(self, trial: Trial) -> float:
        """Optuna's convention: above 0 it does not fit or misses a floor, and the more the worse."""
        outcome = trial.outcome
        measurement = measurement_of(outcome)
        if measurement is not None:
            limit = trial.memory_limit_bytes
            room = min(measurement.peak_bytes / limit - 1, 0.0) if limit else -1.0
            shortfall = self._objective.shortfall(measurement)
            return shortfall if shortfall > 0 else room
        if isinstance(outcome, Infeasible):
            return outcome.violation
        if isinstance(outcome, OutOfMemory):
            return _PHASE_VIOLATION.get(outcome.phase, 1.0)
        return 1.0


def _result(point: Point, trial: Trial, objective: Objective) -> Result:
    measurement = measurement_of(trial.outcome)
    if measurement is None:
        return Result(point=point, score=None)
    # Of the median: its interval is about two standard deviations to either side.
    spread = measurement.tokens_per_second_interval.relative_half_width / 2
    if not isinstance(trial.outcome, Measured):
        spread = max(spread, _EVIDENCE_ERROR / 2)  # stopped after a few steps
    variance = spread**2 if objective.kind != "memory" else 0.0
    return Result(point=point, score=objective.score(measurement), variance=variance)


def _evidence(expected: Expected, *, is_of_here: bool) -> Result:
    return Result(
        point=expected.point,
        score=expected.score,
        variance=_EVIDENCE_ERROR**2,
        is_evidence=True,
        says_whether_it_runs=is_of_here,
    )


def _summary(trial: Trial) -> Mapping[str, Any]:
    """What a person sees of a trial in Optuna's own tools."""
    measurement = measurement_of(trial.outcome)
    if measurement is not None:
        return {
            "outcome": kind_of(trial.outcome),
            "tokens_per_second": measurement.tokens_per_second,
            "peak_bytes": measurement.peak_bytes,
            "step_seconds": measurement.median_step_seconds,
        }
    return {"outcome": kind_of(trial.outcome), "reason": reason_of(trial.outcome)}
