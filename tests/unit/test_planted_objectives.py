"""Studies of every objective against a surface that is known: what should be small is made small."""

import math
from types import SimpleNamespace

import pytest

from sweeper.core.finalists import play
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import objective_from_mapping
from sweeper.core.pareto import pareto_front
from sweeper.core.space import Choice, SearchSpace
from sweeper.core.standing import standing
from sweeper.core.study import Budget, Study
from sweeper.hydra_edge.conclude import contest_of
from sweeper.hydra_edge.sampling import open_sampler
from sweeper.hydra_edge.schema import SAMPLERS
from tests import planted
from tests.planted import NoisyMachine, is_legal, plan_of, truth_of

SPACE = SearchSpace(
    parameters={**planted.SPACE.parameters, "hardware.ranks": Choice(values=("1", "2"))}
)
# Stage 1 and a middling micro-batch: there is something to gain in both directions.
BASELINE = {
    "zero.stage": "1",
    "offload.optimizer": "none",
    "precision.mode": "fp32",
    "batch.micro_size": "2",
    "hardware.ranks": "1",
}
LEGAL = [p for p in SPACE.points() if is_legal(p) and truth_of(p).fits]


def objective_of(kind):
    return objective_from_mapping(
        {
            "kind": kind,
            "throughput_floor": None,
            "target_tokens": 1e9,
            "price_per_device_hour": 2.0,
        }
    )


def worth(kind, point):
    """By the truth, as a logarithm of what is to be large; below the floor nothing is worth anything."""
    t, floor = truth_of(point), truth_of(BASELINE).tokens_per_second
    match kind:
        case "memory":
            return -math.log(t.peak_bytes) if t.tokens_per_second >= 0.98 * floor else -math.inf
        case "cost":
            return math.log(t.tokens_per_second / t.ranks)
        case _:
            return math.log(t.tokens_per_second)


def studied(kind, seed, tmp_path, *, sampler="guided", num_trials=20):
    """A study with racing and liars: its machine, and how it stands after its finals.

    Without seeds, which would find the best by themselves.
    """
    objective, machine = objective_of(kind), NoisyMachine(seed)
    options = {
        "sampler": SAMPLERS[sampler],
        "seed": seed,
        "storage": None,
        "finalists": 4,
        "finalist_rounds": 5,
    }
    likelihood = lambda point: float(is_legal(point))  # noqa: E731
    study = Study(
        sampler=open_sampler(
            options,
            SPACE,
            conditions=SimpleNamespace(acts=lambda name, point: True),
            likelihood=likelihood,
            objective=objective,
            folder=StudyFolder(tmp_path),
            config=None,
            num_finished=0,
            work={},
        ),
        plan=plan_of,
        runner=machine,
        budget=Budget(trials=num_trials),
        clock=lambda: 0.0,
        objective=objective,
    )
    trials = study.run(BASELINE).trials
    contest, again = contest_of(trials, objective, options), NoisyMachine(seed + 1000)
    finals = contest and play(contest, lambda n, at: again.measure_again(trials[n], at))
    return machine, standing(trials, objective, finals)


def best_named(kind, how):
    """Of the winner and those that it is tied with."""
    finals = how.finals
    numbers = (finals.winner, *finals.tied_with) if finals else (how.winner.number,)
    return max(worth(kind, how.trials[n].point) for n in numbers)


def share_of_good(kind, machines):
    """Of the later half of each search, how much was spent on the best fifth of the space."""
    good = sorted(LEGAL, key=lambda point: -worth(kind, point))[: len(LEGAL) // 5]
    later = [p for m in machines for p in m.run_points[len(m.run_points) // 2 :]]
    return sum(point in good for point in later) / len(later)


# Of a search the other way round the share is below 0.15, of one at random 0.2.
@pytest.mark.parametrize("kind", ["throughput", "memory", "cost", "time_to_target"])
def test_a_study_spends_its_trials_on_what_its_objective_is_after_and_names_the_best(
    kind, tmp_path
):
    studies = [studied(kind, seed, tmp_path / str(seed)) for seed in range(8)]
    best = max(worth(kind, point) for point in LEGAL)
    assert share_of_good(kind, [machine for machine, _ in studies]) >= 0.35
    assert sum(best_named(kind, how) >= best - 0.06 for _, how in studies) >= 6


@pytest.mark.parametrize("kind", ["memory", "cost"])
def test_a_sampler_of_optunas_is_told_which_way_is_better(kind, tmp_path):
    studies = [
        studied(kind, seed, tmp_path / str(seed), sampler="tpe", num_trials=30) for seed in range(6)
    ]
    assert share_of_good(kind, [machine for machine, _ in studies]) >= 0.25


def test_a_pareto_study_finds_both_ends_of_the_front_and_what_is_between(tmp_path):
    front = pareto_front([(t.peak_bytes, t.tokens_per_second) for t in map(truth_of, LEGAL)])
    for seed in range(3):
        machine, _ = studied("pareto", seed, tmp_path / str(seed), num_trials=30)
        found = [t for t in map(truth_of, machine.run_points) if t.fits]
        covered = sum(
            any(t.peak_bytes <= 1.05 * m and t.tokens_per_second >= v / 1.05 for t in found)
            for m, v in front
        )
        assert covered >= 0.8 * len(front)  # 0.1 to 0.6 where memory is made large
