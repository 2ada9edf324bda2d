"""What there is to be seen of a study, event by event, with a clock of our own."""

from dataclasses import replace

import pytest

from sweeper.core.finalists import Contest
from sweeper.core.objective import Objective
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, Stopped
from sweeper.terminal.pace import before_the_first, in_words, left
from sweeper.terminal.state import (
    Budget,
    InHand,
    State,
    contest_began,
    ended,
    final_ended,
    gain_of,
    progressed,
)
from tests.support import measured, trial_of

BUDGET = Budget(trials=10, finalists=2, finalist_rounds=5)
OUT_OF_MEMORY = OutOfMemory(memory="host", phase="build", reason="no")
REFUSED = Infeasible(rule="a-rule", reason="not allowed")


def after(*trials, **begin):
    state = State(**{"budget": BUDGET, **begin})
    for trial in trials:
        state = ended(state, trial)
    return state


def stopped(rate):
    return Stopped(measurement=measured(rate).measurement, reason="clearly beaten")


def took(trial, seconds):
    return replace(trial, wall_seconds=seconds)


def test_the_best_of_many_is_found_among_a_few_that_are_kept():
    rates = [100, 90, 130, 120, 110, 140, 95]
    state = after(*(trial_of(n, measured(rate)) for n, rate in enumerate(rates)))
    assert 5 == state.best.number
    assert 1.4 == pytest.approx(gain_of(state, state.best))
    assert len(state.contenders) <= 3


def test_a_trial_that_trains_differently_is_not_the_best():
    other = measured(900.0, losses=(6.2, 9.9, 9.9, 9.9))
    state = after(trial_of(0, measured(100.0)), trial_of(1, other), trial_of(2, measured(110.0)))
    assert 2 == state.best.number


def test_a_trial_that_was_stopped_early_is_not_the_best():
    state = after(trial_of(0, measured(100.0)), trial_of(1, stopped(120.0)))
    assert 0 == state.best.number


def test_without_a_measured_baseline_there_is_a_best_but_no_gain():
    state = after(
        trial_of(0, OUT_OF_MEMORY), trial_of(1, measured(50.0)), trial_of(2, measured(60.0))
    )
    assert 2 == state.best.number
    assert gain_of(state, state.best) is None


def test_for_memory_the_best_is_the_one_with_the_least_above_the_baselines_speed():
    objective = Objective(kind="memory", target_tokens=1e9)
    state = after(
        trial_of(0, measured(100.0, peak_bytes=1000)),
        trial_of(1, measured(90.0, peak_bytes=500)),
        trial_of(2, measured(101.0, peak_bytes=900)),
        trial_of(3, measured(150.0, peak_bytes=950)),
        objective=objective,
    )
    assert 2 == state.best.number


def test_trials_are_counted_by_outcome_and_what_was_ruled_out_took_no_time():
    crashed = Crashed(reason="boom", evidence="", exit_code=1)
    outcomes = [measured(), REFUSED, REFUSED, crashed, stopped(5.0)]
    state = after(*(trial_of(n, outcome) for n, outcome in enumerate(outcomes)))
    assert {"measured": 1, "infeasible": 2, "crashed": 1, "stopped": 1} == state.counts
    assert 3 == len(state.search_seconds)


def test_progress_changes_phase_and_step_and_keeps_the_memory_that_was_known():
    state = State(in_hand=InHand(title="trial 1", settings=(), began_at=0.0))
    state = progressed(state, {"phase": "measure", "step": 3, "of": 20, "memory_bytes": 77})
    state = progressed(state, {"phase": "end", "memory_bytes": None})
    assert ("end", None, 77) == (
        state.in_hand.phase,
        state.in_hand.step,
        state.in_hand.memory_bytes,
    )


def test_progress_of_a_trial_that_has_ended_meanwhile_is_nothing():
    assert State() == progressed(State(), {"phase": "measure"})


def test_before_the_first_trial_has_ended_nothing_is_said_of_the_time_left():
    assert left(State(budget=BUDGET), 5.0) is None
    assert left(after(trial_of(0, REFUSED)), 5.0) is None


def test_time_left_is_what_trials_took_times_those_to_come_without_the_first_ones_start():
    state = after(*(took(trial_of(n, measured()), s) for n, s in enumerate([9.0, 2.0, 4.0])))
    found = left(state, 20.0)
    assert 7 * 3.0 == found.search
    assert 3 * 5 * 3.0 == found.finals


def test_what_the_trial_in_hand_has_taken_so_far_is_no_longer_left():
    state = after(*(took(trial_of(n, measured()), 10.0) for n in range(4)))
    running = replace(state, in_hand=InHand(title="trial 4", settings=(), began_at=100.0))
    assert 60.0 == left(state, 104.0).search
    assert 56.0 == left(running, 104.0).search
    assert 50.0 == left(running, 500.0).search  # it is late, the others are not


def test_a_limit_on_time_is_a_limit_on_time_left():
    budget = replace(BUDGET, seconds=30.0)
    state = after(took(trial_of(0, measured()), 10.0), budget=budget, began_at=100.0)
    assert 18.0 == left(state, 112.0).search


def test_in_the_finals_what_is_left_goes_by_what_finals_took():
    state = after(took(trial_of(0, measured()), 1.0))
    contest = Contest(finalists=(3, 5), baseline=0, max_rounds=4)
    state = contest_began(state, contest)
    for number in (0, 3):
        state = final_ended(state, took(trial_of(number, measured()), 6.0), 1)
    found = left(state, 50.0)
    assert (0.0, (1 + 3 * 3) * 6.0) == (found.search, found.finals)


def test_a_finalist_that_fails_has_no_rate_in_that_round():
    state = contest_began(State(), Contest(finalists=(3,), baseline=0))
    state = final_ended(state, trial_of(3, OUT_OF_MEMORY), 1)
    state = final_ended(state, trial_of(0, measured(100.0)), 1)
    assert {(1, 3): None, (1, 0): 100.0} == dict(state.finals.rates)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "5 s"),
        (12.0, "10 s"),
        (57.0, "55 s"),
        (58.0, "1 min"),
        (170.0, "3 min"),
        (3_590.0, "1 h"),
        (4_900.0, "1 h 20 min"),
        (40_000.0, "11 h"),
    ],
)
def test_a_forecast_has_no_more_digits_than_it_knows(seconds, words):
    assert words == in_words(seconds)


def test_before_the_first_trial_the_forecast_is_what_the_settings_allow():
    said = before_the_first(Budget(trials=10), runner="warm", max_seconds=8.0)
    assert said.startswith("up to about 1 min of search;")  # 10 x 8.5 s, and the first start
    with_finals = before_the_first(BUDGET, runner="deepspeed", max_seconds=120.0)
    assert "21 min of search and 32 min of finals" in with_finals


def test_a_limit_on_time_bounds_the_forecast_too():
    budget = Budget(trials=1000, seconds=600.0)
    assert "10 min of search" in before_the_first(budget, runner="warm", max_seconds=120.0)
