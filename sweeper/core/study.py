"""The loop of a study: baseline first, then seeds, then what the sampler proposes, until a stop rule holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sweeper.core.equivalence import trains_differently
from sweeper.core.measurement import Measurement
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import (
    Crashed,
    Infeasible,
    Measured,
    Outcome,
    Unsupported,
    hung_at_the_start,
    reason_of,
)
from sweeper.core.plan import Plan
from sweeper.core.space import Point
from sweeper.core.spec import TrialSpec
from sweeper.core.trial import Trial

# What is better by less than this share is no improvement worth to go on for.
IMPROVEMENT = 0.01
# Each costs launch.hang_seconds, and the next would hang as well: it is what all trials begin with.
MAX_HANGS_IN_A_ROW = 2
# A sampler that proposes this many candidates in a row that the plan rules out has nothing left.
MAX_REFUSED_IN_A_ROW = 200
# The reason of a study that its user ended.
INTERRUPTED = "interrupted"


class Proposal(Protocol):
    """A point that a sampler proposed and waits to be told of."""

    @property
    def point(self) -> Point: ...


class Sampler(Protocol):
    """Decides which point comes next, and is told what became of each."""

    @property
    def why_nothing_is_left(self) -> str:
        """Said when ``ask`` has returned None."""

    def ask(self) -> Proposal | None:
        """The next point; None when there is none left that is worth a trial."""

    def propose(self, point: Point) -> Proposal:
        """A point that the study wants, as if the sampler had asked for it."""

    def tell(self, proposal: Proposal, trial: Trial, *, repeat: bool) -> None:
        """``repeat``: the point is the same work as this earlier trial, and was not run."""

    def give_up(self, proposal: Proposal) -> None:
        """The proposal was interrupted: nothing is known of it."""


class Runner(Protocol):
    """Takes a planned point to a trial."""

    def run(self, number: int, point: Point, plan: Plan) -> Trial:
        """Runs what the plan says is ready, or records why it is not, and returns what is on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """``trials`` counts those that were run: what the plan rules out costs nothing.

    ``patience`` is how many may be run in a row without an improvement by ``IMPROVEMENT``, once one
    was measured; of a Pareto front, without one that moves it by so much.
    """

    trials: int
    seconds: float | None = None
    patience: int | None = None
    crashes_in_a_row: int = 5
    crash_rate: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """``interrupted``: by the user; ``broken``: by trials that crashed one after the other."""

    trials: tuple[Trial, ...]
    stop_reason: str
    interrupted: bool = False
    broken: bool = False


class Study:
    """``plan`` takes a point (empty for the baseline) to what can be done with it.

    ``seeds`` is asked once, when the baseline is known, for points to try before the sampler's;
    ``must_end`` between two trials, whether the user wants the study to end there.
    """

    def __init__(
        self,
        *,
        sampler: Sampler,
        plan: Callable[[Point], Plan],
        runner: Runner,
        budget: Budget,
        clock: Callable[[], float],
        objective: Objective = THROUGHPUT,
        seeds: Callable[[], Sequence[Point]] = tuple,
        must_end: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sampler = sampler
        self._plan = plan
        self._runner = runner
        self._budget = budget
        self._clock = clock
        self._incumbent = Incumbent(objective)
        self._seeds = seeds
        self._must_end = must_end
        self._by_key: dict[str, Trial] = {}
        self._trials: list[Trial] = []

    def run(
        self,
        baseline: Point,
        *,
        finished: Sequence[Trial] = (),
        pending: Point | None = None,
        lost: Mapping[int, Point] | None = None,
    ) -> StudyResult:
        """``finished`` are the trials of a run that this one goes on with; ``pending`` was in flight.

        ``lost`` are those whose record is damaged, by number: they are run again whatever the budget says.
        """
        self._trials = list(finished)
        self._by_key = {trial.key: trial for trial in finished}
        for trial in finished:
            self._incumbent.consider(trial)
        again = dict(lost or {})
        if finished and all(trial.number for trial in finished):
            again[0] = baseline
        first = pending if pending is not None else (None if finished or again else baseline)
        try:
            for number in sorted(again):
                self._take_again(number, again[number])
                if self._must_end():
                    return self._interrupted()
            return self._search(first)
        except KeyboardInterrupt:
            return self._interrupted()

    def _search(self, first: Point | None) -> StudyResult:
        """``first`` is to be tried before all others."""
        started = self._clock() - sum(trial.wall_seconds for trial in self._trials)
        if self._trials and (reason := self._why_stop(started)) is not None:
            return self._result(reason)
        seeds = self._new_seeds()
        proposal = next(seeds, None) if first is None else self._sampler.propose(first)
        proposal = proposal or self._sampler.ask()
        while proposal is not None:
            try:
                self._take(proposal)
            except KeyboardInterrupt:
                self._sampler.give_up(proposal)
                raise
            if self._must_end():
                return self._interrupted()
            if (crashed := self._why_broken()) is not None:
                return self._result(crashed, broken=True)
            if (reason := self._why_stop(started)) is not None:
                return self._result(reason)
            proposal = next(seeds, None) or self._sampler.ask()
        return self._result(self._sampler.why_nothing_is_left)

    def _new_seeds(self) -> Iterator[Proposal]:
        """Those that have not been tried; looked for when the first one is wanted."""
        for point in self._seeds():
            if self._plan(point).key not in self._by_key:
                yield self._sampler.propose(point)

    def _take_again(self, number: int, point: Point) -> None:
        proposal = self._sampler.propose(point)
        try:
            self._take(proposal, number)
        except KeyboardInterrupt:
            self._sampler.give_up(proposal)
            raise
        self._trials.sort(key=lambda trial: trial.number)

    def _take(self, proposal: Proposal, number: int | None = None) -> None:
        plan = self._plan(proposal.point)
        known = self._by_key.get(plan.key)
        if known is not None:
            self._sampler.tell(proposal, known, repeat=True)
            return
        if isinstance(plan.ready, TrialSpec):
            beaten = self._incumbent.beaten_step_seconds(plan.ready.ranks)
            plan = replace(plan, ready=replace(plan.ready, beaten_step_seconds=beaten))
        # Behind the last one: a folder that somebody deleted leaves a gap, and no trial takes another's place.
        if number is None:
            number = max((trial.number for trial in self._trials), default=-1) + 1
        trial = self._runner.run(number, proposal.point, plan)
        self._by_key[plan.key] = trial
        self._trials.append(trial)
        self._incumbent.consider(trial)
        self._sampler.tell(proposal, trial, repeat=False)

    def _why_stop(self, started: float) -> str | None:
        run = [trial for trial in self._trials if not _was_refused(trial.outcome)]
        if len(run) >= self._budget.trials:
            trials = "1 trial was" if len(run) == 1 else f"{len(run)} trials were"
            return f"{trials} run (n_trials={self._budget.trials})"
        if self._budget.seconds is not None and self._clock() - started >= self._budget.seconds:
            return f"the time is up (timeout={self._budget.seconds:g} s)"
        patience = self._budget.patience
        if patience is not None and self._incumbent.trials_since >= patience:
            return f"no improvement in {patience} trials (patience={patience})"
        tail = self._trials[-MAX_REFUSED_IN_A_ROW:]
        if len(tail) == MAX_REFUSED_IN_A_ROW and all(_was_refused(t.outcome) for t in tail):
            return f"the last {MAX_REFUSED_IN_A_ROW} candidates were ruled out by the plan"
        return None

    def _why_broken(self) -> str | None:
        run = [t.outcome for t in self._trials if not _was_refused(t.outcome)]
        hung = [outcome for outcome in run[-MAX_HANGS_IN_A_ROW:] if hung_at_the_start(outcome)]
        if len(hung) == MAX_HANGS_IN_A_ROW:
            return f"{len(hung)} trials in a row took no step; the last one: {reason_of(hung[-1])}"
        limit = self._budget.crashes_in_a_row
        broken = [o for o in run[-limit:] if isinstance(o, Crashed) or hung_at_the_start(o)]
        if len(broken) == limit:
            last = broken[-1]
            told = (
                f"log ends:\n{last.evidence}"
                if isinstance(last, Crashed)
                else f"outcome: {reason_of(last)}"
            )
            return f"{limit} trials in a row crashed; the last one's {told}"
        rate = sum(isinstance(outcome, Crashed) for outcome in run) / max(len(run), 1)
        if rate > self._budget.crash_rate:
            return (
                f"{rate:.0%} of the trials crashed (max_failure_rate={self._budget.crash_rate:g})"
            )
        return None

    def _interrupted(self) -> StudyResult:
        return self._result(INTERRUPTED, interrupted=True)

    def _result(self, reason: str, **how: Any) -> StudyResult:
        return StudyResult(trials=tuple(self._trials), stop_reason=reason, **how)


class Incumbent:
    """The best so far, as far as it is known to train as the baseline does: one trial, or a front.

    ``trials_since`` are those since it last became better; before there is one nobody waits for that.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._reference: Trial | None = None
        self._front: list[Measurement] = []
        self.trials_since = 0

    def consider(self, trial: Trial) -> None:
        """Takes a trial that has ended into account."""
        if trial.number == 0:
            self._objective = self._objective.beside(trial)
        if _was_refused(trial.outcome):
            return
        if self._front:
            self.trials_since += 1
        if not isinstance(trial.outcome, Measured):
            return
        self._reference = self._reference or trial
        if trains_differently(trial, self._reference):
            return
        m, gain = trial.outcome.measurement, self._objective.gain
        least = min((gain(m, other) for other in self._front), default=math.inf)
        if least > math.log1p(IMPROVEMENT):
            self.trials_since = 0
        if least > 0:
            self._front = [*(other for other in self._front if gain(other, m) > 0), m]

    def beaten_step_seconds(self, ranks: int) -> float | None:
        """Above which a trial on so many ranks cannot win any more."""
        if not self._front:
            return None
        best = min(self._front, key=self._objective.order)
        return self._objective.beaten_step_seconds(best, ranks)


def _was_refused(outcome: Outcome) -> bool:
    return isinstance(outcome, Infeasible | Unsupported)
