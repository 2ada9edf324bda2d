import math

import pytest

from sweeper.core.equivalence import best_trial, ranking
from sweeper.core.objective import objective_from_mapping
from sweeper.core.outcome import Measured, OutOfMemory
from sweeper.core.standing import standing
from sweeper.errors import UsageError
from sweeper.report.verdict import verdict
from tests.support import measured, trial_of

VALUES = {"throughput_floor": None, "target_tokens": 1e9, "price_per_device_hour": None}


def objective(kind, **changes):
    return objective_from_mapping({"kind": kind, **VALUES, **changes})


FAST = measured(2000.0, peak_bytes=8 * 2**30).measurement
SMALL = measured(1000.0, peak_bytes=2 * 2**30).measurement


@pytest.mark.parametrize(
    ("kind", "better", "worse"),
    [
        ("throughput", FAST, SMALL),
        ("memory", SMALL, FAST),
        ("pareto", FAST, SMALL),  # the fast end of the front is what is exported
        ("time_to_target", FAST, SMALL),
        ("cost", FAST, SMALL),
    ],
)
def test_each_objective_prefers_what_it_is_after(kind, better, worse):
    o = objective(kind, price_per_device_hour=2.0)
    assert o.order(better) < o.order(worse)
    assert o.score(better) > o.score(worse)
    trials = [trial_of(0, measured()), *(trial_of(n, _of(m)) for n, m in ((1, worse), (2, better)))]
    assert 2 == ranking(trials[1:], o)[0].number


@pytest.mark.parametrize("kind", ["throughput", "memory", "pareto", "time_to_target", "cost"])
def test_the_directions_say_which_way_each_value_is_better(kind):
    o = objective(kind, price_per_device_hour=2.0)
    better, worse = (SMALL, FAST) if kind == "memory" else (FAST, SMALL)
    for direction, good, bad in zip(o.directions, o.values(better), o.values(worse), strict=True):
        if kind == "pareto" and direction == "minimize":
            good, bad = bad, good
        assert good > bad if direction == "maximize" else good < bad


def test_memory_is_saved_only_above_the_floor_and_the_floor_is_the_baselines_own():
    trials = [
        trial_of(0, measured(1000.0, peak_bytes=4 * 2**30)),
        trial_of(1, measured(500.0, peak_bytes=1 * 2**30)),  # too slow
        trial_of(2, measured(1100.0, peak_bytes=3 * 2**30)),
    ]
    o = objective("memory").beside(trials[0])
    assert 1000.0 == o.throughput_floor
    assert 2 == best_trial(trials, o).number
    assert 0 < o.shortfall(trials[1].outcome.measurement)


def test_beside_a_baseline_that_ran_out_of_memory_no_floor_holds_and_the_verdict_says_so():
    trials = [
        trial_of(0, OutOfMemory(memory="host", phase="warm-up", reason="x")),
        trial_of(1, measured(1000.0, peak_bytes=4 * 2**30)),
        trial_of(2, measured(1.0, peak_bytes=1 * 2**30)),
    ]
    how = standing(trials, objective("memory"))
    assert 2 == how.winner.number
    assert how.objective.takes_floor_of_baseline
    said = verdict(how)
    assert "however slow" in said
    assert "type objective.throughput_floor=<tokens/s>" in said
    typed = standing(trials, objective("memory", throughput_floor=500.0))
    assert 1 == typed.winner.number
    assert "at 500 tokens/s or more" in verdict(typed)
    assert "floor" not in verdict(standing(trials, objective("memory", throughput_floor=0.0)))


def test_where_nothing_reaches_the_floor_the_fastest_is_best():
    o = objective("memory", throughput_floor=1e6)
    assert 1 == best_trial([trial_of(0, _of(SMALL)), trial_of(1, _of(FAST))], o).number


def test_cost_counts_every_rank():
    o = objective("cost", price_per_device_hour=3.6, target_tokens=1e6)
    assert 1e6 / 2000 / 3600 == pytest.approx(o.hours_to_target(FAST))
    assert 3.6 * 1e6 / 2000 / 3600 * FAST.ranks == pytest.approx(o.cost_of_target(FAST))


def test_a_trial_on_twice_the_ranks_must_be_twice_as_fast_to_cost_the_same():
    o = objective("cost", price_per_device_hour=1.0)
    assert o.beaten_step_seconds(FAST, 2) == pytest.approx(o.beaten_step_seconds(FAST, 1) / 2)
    assert FAST.median_step_seconds * 1.05 == pytest.approx(
        objective("throughput").beaten_step_seconds(FAST, 2)
    )


@pytest.mark.parametrize("kind", ["memory", "pareto"])
def test_where_memory_counts_a_slow_trial_is_measured_to_its_end(kind):
    assert objective(kind).beaten_step_seconds(FAST, 1) is None


def test_scores_are_logarithms():
    o = objective("throughput")
    assert math.log(2) == pytest.approx(o.score(FAST) - o.score(SMALL))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "speed"}, "objective.kind=speed: allowed are throughput, memory"),
        ({"kind": "cost"}, "type objective.price_per_device_hour=2.5"),
        ({"kind": "memory", "throughput_floor": -1}, "objective.throughput_floor=-1"),
    ],
)
def test_a_bad_objective_is_one_line(values, said):
    with pytest.raises(UsageError) as error:
        objective(values.pop("kind"), **values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def _of(measurement):
    return Measured(measurement=measurement)
