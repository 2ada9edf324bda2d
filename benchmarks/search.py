"""How soon a search finds the best of a grid: replays of recorded trials, through the same ``Study``.

Five searches on each published grid, 60 seeds: ours; ours without its seeds, the guide alone; Optuna's TPE
told the stock way (what cannot run is run and told as FAIL, no seeds, no plan in front); points at random;
points in the grid's order. Each seed draws the legal point that all five start from. The truth of a point
is the median of its passes; a replayed trial answers with one of them, drawn by seed. What a beaten trial
had measured until it was ended is told to every search.
``python -m benchmarks.search [NAME ...]``
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import optuna

from benchmarks.grids import GRIDS, MACHINE, Grid, Recorded
from benchmarks.setting import publish
from sweeper.core.enough import MIN_MEASURED_STEPS, is_beaten
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Crashed, Measured, Outcome, Stopped, measurement_of
from sweeper.core.plan import Plan, specification
from sweeper.core.seeds import seeds
from sweeper.core.space import Point, as_overrides
from sweeper.core.spec import TrialSpec
from sweeper.core.statistics import median_interval
from sweeper.core.study import Budget, Proposal, Study
from sweeper.core.trial import Trial, trial_of_plan
from sweeper.search.optuna_sampler import OptunaSampler

NUM_SEEDS = 60
NUM_SEED_TRIALS = 5
CHECKPOINTS = (10, 20, 30)
MAX_SHARE = 0.3  # of the points, after which a replay ends
_NEVER = 10**9


@dataclass(frozen=True, slots=True)
class Truth:
    """Tokens/s by the key of the work, and every pass that was recorded of it."""

    tokens_per_second: dict[str, float]
    passes: dict[str, list[Recorded]]

    @property
    def best(self) -> float:
        return max(self.tokens_per_second.values())


def truth_of(grid: Grid) -> Truth:
    """From the grid's CSV."""
    passes: dict[str, list[Recorded]] = {}
    for row in grid.recorded():
        passes.setdefault(grid.plan(row.point).key, []).append(row)
    medians = {
        key: statistics.median(
            row.outcome.measurement.tokens_per_second
            for row in rows
            if isinstance(row.outcome, Measured)
        )
        for key, rows in passes.items()
    }
    return Truth(medians, passes)


class ReplayRunner:
    """Answers with what was recorded; what was never legal is what DeepSpeed makes of it: a crash."""

    def __init__(self, truth: Truth, seed: int) -> None:
        self._truth = truth
        self._random = random.Random(seed)
        self.visited: list[str] = []

    def run(self, number: int, point: Point, plan: Plan) -> Trial:
        """One recorded trial, ended early where the incumbent says so."""
        outcome: Outcome = Crashed(reason="refused by DeepSpeed", evidence="", exit_code=1)
        if isinstance(plan.ready, TrialSpec):
            self.visited.append(plan.key)
            if plan.key in self._truth.passes:
                recorded = self._random.choice(self._truth.passes[plan.key]).outcome
                outcome = _raced(recorded, plan.ready)
        else:
            outcome = plan.ready
        return trial_of_plan(
            plan,
            outcome,
            number=number,
            point=point,
            overrides=as_overrides(point),
            memory_limit_bytes=MACHINE.host_memory_bytes,
        )


def _raced(outcome: Outcome, spec: TrialSpec) -> Outcome:
    if not isinstance(outcome, Measured):
        return outcome
    steps = outcome.measurement.step_seconds
    for count in range(MIN_MEASURED_STEPS, len(steps)):
        if is_beaten(steps[:count], spec):
            few: Measurement = replace(outcome.measurement, step_seconds=steps[:count])
            return Stopped(measurement=few, reason="clearly beaten")
    return outcome


@dataclass(frozen=True, slots=True)
class Asked:
    """A proposal of the simple samplers."""

    point: Point
    trial: optuna.trial.Trial | None = None


class InOrder:
    """Points one after the other: in the grid's order, or shuffled."""

    why_nothing_is_left = "all have been tried"

    def __init__(self, points: Iterator[Point]) -> None:
        self._points = points

    def ask(self) -> Asked | None:
        """The next one."""
        return next((Asked(point) for point in self._points), None)

    def propose(self, point: Point) -> Asked:
        """A point that the study wants."""
        return Asked(point)

    def tell(self, proposal: Proposal, trial: Trial, *, repeat: bool) -> None:
        """Learns nothing."""

    def give_up(self, proposal: Proposal) -> None:
        """Forgets nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One search over a grid: where it starts from, and how many trials it is given."""

    grid: Grid
    runner: ReplayRunner
    seed: int
    start: Point
    trials: int


class StockTPE:
    """Optuna's TPE with its defaults: what failed is told as FAIL, and every parameter is sampled.

    What it suggests again is run again, and is one of its trials.
    """

    why_nothing_is_left = "it has had its trials"

    def __init__(self, replay: Replay) -> None:
        sampler = optuna.samplers.TPESampler(seed=replay.seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._values = {n: d.points() or () for n, d in replay.grid.space.parameters.items()}
        self._visited = replay.runner.visited
        self._trials = replay.trials

    def ask(self) -> Asked | None:
        """Whatever TPE suggests."""
        return self._next() if len(self._visited) < self._trials else None

    def _next(self) -> Asked:
        trial = self._study.ask()
        point = {n: trial.suggest_categorical(n, values) for n, values in self._values.items()}
        return Asked(point, trial)

    def propose(self, point: Point) -> Asked:
        """A point that the study wants."""
        self._study.enqueue_trial(dict(point))
        return self._next()

    def tell(self, proposal: Asked, trial: Trial, *, repeat: bool) -> None:
        """The stock way."""
        assert proposal.trial is not None
        if repeat:
            self._visited.append(trial.key)
        if measurement := measurement_of(trial.outcome):
            self._study.tell(proposal.trial, measurement.tokens_per_second)
        else:
            self._study.tell(proposal.trial, state=optuna.trial.TrialState.FAIL)

    def give_up(self, proposal: Asked) -> None:
        """Not needed here."""


def ours(replay: Replay) -> Study:
    """As ``hydra/sweeper=optuna`` makes it."""
    return _guided(replay, num_seed_trials=NUM_SEED_TRIALS)


def guide_alone(replay: Replay) -> Study:
    """What the search is worth where nobody knows what to try first."""
    return _guided(replay, num_seed_trials=0)


def _guided(replay: Replay, *, num_seed_trials: int) -> Study:
    grid = replay.grid

    def likelihood(point: Point) -> float:
        return float(isinstance(grid.plan(point).ready, TrialSpec))

    drawing = optuna.samplers.RandomSampler(replay.seed)
    sampler = OptunaSampler(
        grid.space,
        optuna.create_study(direction="maximize", sampler=drawing),
        seed=replay.seed,
        acts=grid.acts,
        likelihood=likelihood,
        guided=True,
    )
    return Study(
        sampler=sampler,
        plan=grid.plan,
        runner=replay.runner,
        budget=Budget(trials=replay.trials, crashes_in_a_row=_NEVER),
        clock=lambda: 0.0,
        seeds=lambda: seeds(grid.space, replay.start, likelihood=likelihood, count=num_seed_trials),
    )


def _unplanned(grid: Grid) -> Callable[[Point], Plan]:
    """What cannot run is started all the same."""

    def plan(point: Point) -> Plan:
        planned = grid.plan(point)
        return replace(planned, ready=specification(planned.settings, MACHINE))

    return plan


def stock(replay: Replay) -> Study:
    """Optuna's TPE told the stock way."""
    return _simple(StockTPE(replay), _unplanned(replay.grid), replay)


def at_random(replay: Replay) -> Study:
    """Legal points, shuffled."""
    points = list(replay.grid.space.points())
    random.Random(replay.seed).shuffle(points)
    return _simple(InOrder(iter(points)), replay.grid.plan, replay)


def in_order(replay: Replay) -> Study:
    """Legal points as Hydra's own sweeper takes them."""
    return _simple(InOrder(replay.grid.space.points()), replay.grid.plan, replay)


def _simple(sampler: object, plan: Callable[[Point], Plan], replay: Replay) -> Study:
    return Study(
        sampler=sampler,  # type: ignore[arg-type]
        plan=plan,
        runner=replay.runner,
        budget=Budget(trials=replay.trials, crashes_in_a_row=_NEVER),
        clock=lambda: 0.0,
    )


SEARCHES = {
    "ours": ours,
    "guide alone": guide_alone,
    "stock TPE": stock,
    "random": at_random,
    "grid order": in_order,
}


def start_of(grid: Grid, truth: Truth, seed: int) -> Point:
    """What somebody may have before they tune: any legal point."""
    legal = [point for point in grid.space.points() if grid.plan(point).key in truth.passes]
    return random.Random(seed).choice(legal)


def regrets(grid: Grid, truth: Truth, search: str, seed: int) -> list[float]:
    """After each trial: how far the best one so far is below the grid's best, as a share."""
    replay = Replay(
        grid=grid,
        runner=ReplayRunner(truth, seed),
        seed=seed,
        start=start_of(grid, truth, seed),
        trials=math.ceil(max(MAX_SHARE * len(truth.passes), max(CHECKPOINTS))),
    )
    SEARCHES[search](replay).run(replay.start)
    reached = (truth.tokens_per_second.get(key, 0.0) for key in replay.runner.visited)
    curve = [1 - best / truth.best for best in itertools.accumulate(reached, max)]
    return curve + curve[-1:] * (replay.trials - len(curve))


def main(names: list[str]) -> None:
    """Replays, prints a table, writes results/published/search.json."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    document: dict[str, object] = {}
    for name in names:
        grid = GRIDS[name]
        truth = truth_of(grid)
        size = len(truth.passes)
        print(f"\n{name}: {size} legal points, best {truth.best:,.0f} tokens/s")
        head = "  ".join(f"regret at {n}" for n in CHECKPOINTS)
        print(f"{'search':>12}  {head}  trials to 5 %, 2 %  (share, 95 % interval)  worst seed")
        found: dict[str, object] = {"points": size, "best_tokens_per_second": truth.best}
        for search in SEARCHES:
            curves = [regrets(grid, truth, search, seed) for seed in range(NUM_SEEDS)]
            found[search] = [[round(regret, 4) for regret in curve] for curve in curves]
            print(f"{search:>12} {_row(curves, size)}", flush=True)
        document[name] = found
    path = publish("search", {"seeds": NUM_SEEDS, "regret_by_trial": document}, {})
    print(f"\nraw results: {path}")


def _row(curves: list[list[float]], size: int) -> str:
    """Medians over the seeds, that of the trials to 2 % with its interval, and how long the unluckiest took."""
    at = [statistics.median(curve[n - 1] for curve in curves) for n in CHECKPOINTS]
    within_5, within_2 = ([_trials_to(curve, level) for curve in curves] for level in (0.05, 0.02))
    median, interval = statistics.median(within_2), median_interval(within_2)
    shown = "  ".join(f"{100 * regret:>10.1f}%" for regret in at)
    return (
        f"{shown}   {statistics.median(within_5):g}, {median:g}  ({median / size:.1%}, {interval.low:g}-{interval.high:g})"
        f"  {max(within_2)} ({max(within_2) / size:.1%})"
    )


def _trials_to(curve: list[float], level: float) -> int:
    return next((n for n, regret in enumerate(curve, 1) if regret <= level), len(curve) + 1)


if __name__ == "__main__":
    main(sys.argv[1:] or [name for name, grid in GRIDS.items() if grid.csv.exists()])
