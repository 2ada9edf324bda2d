import pytest

from sweeper.core.equivalence import best_trial
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, TimedOut
from sweeper.core.space import Choice, SearchSpace
from sweeper.core.study import Budget, Incumbent, Study
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import open_study
from tests.support import FakeRunner, measured, plan_of_point, trial_of

SPACE = SearchSpace(
    parameters={
        "zero.stage": Choice(values=("0", "1", "2", "3")),
        "offload.optimizer": Choice(values=("none", "cpu")),
        "offload.params": Choice(values=("none", "cpu")),
        "batch.micro_size": Choice(values=("1", "2", "3", "4")),
    }
)
BASELINE = {
    "zero.stage": "0",
    "offload.optimizer": "none",
    "offload.params": "none",
    "batch.micro_size": "1",
}


def speed(point):
    return measured(100.0 * int(point["batch.micro_size"]) - 10 * int(point["zero.stage"]))


def study(
    runner,
    *,
    tmp_path,
    trials=12,
    seed=1,
    clock=lambda: 0.0,
    must_end=lambda: False,
    objective=THROUGHPUT,
    **budget,
):
    sampler = OptunaSampler(
        SPACE,
        open_study(
            space=SPACE,
            sampler={"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 5},
            storage=None,
            journal=tmp_path / "journal",
            study_name="test",
            directions=objective.directions,
            seed=seed,
        ),
        seed=seed,
        objective=objective,
    )
    return Study(
        sampler=sampler,
        plan=plan_of_point,
        runner=runner,
        budget=Budget(trials=trials, **budget),
        clock=clock,
        must_end=must_end,
        objective=objective,
    )


def test_the_baseline_is_trial_0(tmp_path):
    runner = FakeRunner(speed)
    result = study(runner, tmp_path=tmp_path).run(BASELINE)
    assert BASELINE == runner.run_points[0]
    assert 0 == result.trials[0].number


def test_a_trial_that_somebody_deleted_leaves_a_gap_that_no_other_takes(tmp_path):
    begun = study(FakeRunner(speed), tmp_path=tmp_path, trials=4).run(BASELINE).trials
    left = [trial for trial in begun if trial.number != 1]
    again = study(FakeRunner(speed), tmp_path=tmp_path / "again", trials=6)
    result = again.run(BASELINE, finished=left)
    new = [trial.number for trial in result.trials if trial not in left]
    assert max(trial.number for trial in left) + 1 == min(new)


def test_the_budget_counts_the_trials_that_were_run(tmp_path):
    runner = FakeRunner(speed)
    result = study(runner, tmp_path=tmp_path, trials=12).run(BASELINE)
    assert 12 == len(runner.run_points)
    assert 12 < len(result.trials)  # those that the plan ruled out are recorded beside them
    assert list(range(len(result.trials))) == [trial.number for trial in result.trials]


def test_no_candidate_is_run_or_recorded_twice(tmp_path):
    runner = FakeRunner(speed)
    result = study(runner, tmp_path=tmp_path, trials=1000).run(BASELINE)
    keys = [trial.key for trial in result.trials]
    assert len(keys) == len(set(keys))


def test_an_exhausted_space_ends_the_study_with_every_distinct_candidate_tried(tmp_path):
    runner = FakeRunner(speed)
    result = study(runner, tmp_path=tmp_path, trials=1000).run(BASELINE)
    every_key = {plan_of_point(point).key for point in SPACE.points()}
    assert every_key == {trial.key for trial in result.trials}
    assert "every candidate" in result.stop_reason


def test_what_the_plan_refuses_is_an_outcome_and_no_run(tmp_path):
    runner = FakeRunner(speed)
    result = study(runner, tmp_path=tmp_path, trials=1000).run(BASELINE)
    assert any(isinstance(trial.outcome, Infeasible) for trial in result.trials)
    assert not any(
        p["zero.stage"] == "0" and p["offload.optimizer"] == "cpu" for p in runner.run_points
    )


def test_a_failing_trial_does_not_stop_the_study(tmp_path):
    out_of_memory = OutOfMemory(memory="host", phase="build", reason="no")
    runner = FakeRunner(lambda p: out_of_memory if p["batch.micro_size"] == "4" else speed(p))
    result = study(runner, tmp_path=tmp_path, trials=1000).run(BASELINE)
    assert out_of_memory in [trial.outcome for trial in result.trials]
    assert not result.broken


def test_five_crashes_in_a_row_stop_the_study_with_the_last_log(tmp_path):
    runner = FakeRunner(lambda _: Crashed(reason="boom", evidence="the last words", exit_code=1))
    result = study(runner, tmp_path=tmp_path).run(BASELINE)
    assert result.broken
    assert 5 == len(runner.run_points)
    assert "the last words" in result.stop_reason


def test_two_trials_that_hang_before_their_first_step_stop_the_study(tmp_path):
    """Each costs minutes, and the next would hang as well."""
    hung = TimedOut(phase="initialize", reason="hangs: no rank made progress")
    runner = FakeRunner(lambda _: hung)
    result = study(runner, tmp_path=tmp_path).run(BASELINE)
    assert result.broken
    assert 2 == len(runner.run_points)
    assert "hangs: no rank made progress" in result.stop_reason


def test_a_trial_that_hangs_in_its_steps_does_not_stop_it(tmp_path):
    slow = TimedOut(phase="measure", reason="not done after 600 s")
    runner = FakeRunner(lambda p: slow if p["batch.micro_size"] == "2" else speed(p))
    assert not study(runner, tmp_path=tmp_path, trials=20).run(BASELINE).broken


def test_crashes_that_are_not_in_a_row_do_not_stop_it(tmp_path):
    crashed = Crashed(reason="boom", evidence="", exit_code=1)
    runner = FakeRunner(lambda p: crashed if p["batch.micro_size"] == "2" else speed(p))
    assert not study(runner, tmp_path=tmp_path, trials=20).run(BASELINE).broken


def test_a_crash_rate_above_what_is_allowed_stops_it(tmp_path):
    runner = FakeRunner(lambda _: Crashed(reason="boom", evidence="", exit_code=1))
    result = study(runner, tmp_path=tmp_path, crash_rate=0.0).run(BASELINE)
    assert 1 == len(runner.run_points)
    assert "max_failure_rate" in result.stop_reason


def test_an_interrupt_keeps_what_is_there(tmp_path):
    def interrupted_at_third(point):
        if len(runner.run_points) == 3:
            raise KeyboardInterrupt
        return speed(point)

    runner = FakeRunner(interrupted_at_third)
    result = study(runner, tmp_path=tmp_path).run(BASELINE)
    assert result.interrupted
    assert 2 == sum(not isinstance(t.outcome, Infeasible) for t in result.trials)


def test_an_end_that_is_asked_for_comes_after_the_trial_in_hand_which_is_kept(tmp_path):
    runner = FakeRunner(speed)
    must_end = lambda: len(runner.run_points) == 3  # noqa: E731
    result = study(runner, tmp_path=tmp_path, must_end=must_end).run(BASELINE)
    assert result.interrupted
    assert 3 == len(runner.run_points)
    assert 3 == sum(not isinstance(t.outcome, Infeasible) for t in result.trials)


def test_an_interrupt_between_two_trials_keeps_what_is_there_too(tmp_path):
    def must_end():
        raise KeyboardInterrupt

    result = study(FakeRunner(speed), tmp_path=tmp_path, must_end=must_end).run(BASELINE)
    assert result.interrupted
    assert 1 == len(result.trials)


def test_time_that_is_up_ends_the_study(tmp_path):
    ticks = iter(range(0, 10_000, 10))
    runner = FakeRunner(speed)
    result = study(runner, tmp_path=tmp_path, clock=lambda: next(ticks), seconds=25.0).run(BASELINE)
    assert "time is up" in result.stop_reason
    assert len(runner.run_points) < 12


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_tries_the_same_candidates_in_the_same_order(tmp_path, seed):
    runs = []
    for name in ("a", "b"):
        runner = FakeRunner(speed)
        study(runner, tmp_path=tmp_path / name, seed=seed).run(BASELINE)
        runs.append(runner.run_points)
    assert runs[0] == runs[1]


def test_a_baseline_outside_the_space_is_run_and_the_study_goes_on(tmp_path):
    runner = FakeRunner(lambda p: speed({"batch.micro_size": "1", "zero.stage": "0", **p}))
    result = study(runner, tmp_path=tmp_path, trials=5).run({"batch.micro_size": "8"})
    assert {"batch.micro_size": "8"} == runner.run_points[0]
    assert 5 == len(runner.run_points)
    assert not result.broken


def objective(kind, **more):
    return Objective(kind=kind, target_tokens=1e9, **more)


class NotingRunner(FakeRunner):
    """Notes the step time at which each trial would be given up."""

    def __init__(self, answer):
        super().__init__(answer)
        self.beaten_at = []

    def run(self, number, point, planned):
        self.beaten_at.append(getattr(planned.ready, "beaten_step_seconds", None))
        return super().run(number, point, planned)


def test_a_trial_is_told_at_which_step_time_it_is_clearly_beaten(tmp_path):
    runner = NotingRunner(lambda p: measured(100.0 if len(runner.run_points) == 1 else 200.0))
    study(runner, tmp_path=tmp_path, trials=3).run(BASELINE)
    step = measured(100.0).measurement.median_step_seconds
    told = [seconds for seconds in runner.beaten_at if seconds is not None]
    assert runner.beaten_at[0] is None  # nothing beats the baseline yet
    assert [step * 1.05, step / 2 * 1.05] == pytest.approx(told[:2])


def test_a_trial_that_trains_differently_beats_nobody(tmp_path):
    def answer(point):
        if len(runner.run_points) == 1:
            return measured(100.0)
        return measured(9000.0, losses=(1.0, 2.0, 3.0, 4.0))

    runner = NotingRunner(answer)
    study(runner, tmp_path=tmp_path, trials=3).run(BASELINE)
    told = [seconds for seconds in runner.beaten_at if seconds is not None]
    assert told[-1] == pytest.approx(measured(100.0).measurement.median_step_seconds * 1.05)


def test_patience_ends_a_study_that_finds_nothing_better(tmp_path):
    runner = FakeRunner(lambda p: measured(100.0))
    result = study(runner, tmp_path=tmp_path, trials=100, patience=6).run(BASELINE)
    assert 7 == len(runner.run_points)  # the baseline and six that were no better
    assert "no improvement in 6 trials" in result.stop_reason


def test_nobody_waits_for_an_improvement_before_something_was_measured(tmp_path):
    def answer(point):
        if len(runner.run_points) <= 8:
            return OutOfMemory(memory="device", phase="build", reason="no")
        return measured(100.0)

    runner = FakeRunner(answer)
    result = study(runner, tmp_path=tmp_path, trials=100, patience=3).run(BASELINE)
    assert "no improvement in 3 trials" in result.stop_reason
    assert 8 + 1 + 3 == len(runner.run_points)


PARETO = Objective(kind="pareto", target_tokens=1e9)


def trials_since(objective, results):
    """How many (tokens/s, GiB) in a row have brought no improvement."""
    incumbent = Incumbent(objective)
    for number, (tokens_per_second, gib) in enumerate(results):
        outcome = measured(tokens_per_second, peak_bytes=int(gib * 2**30))
        incumbent.consider(trial_of(number, outcome))
    return incumbent.trials_since


@pytest.mark.parametrize(
    ("results", "since"),
    [
        ([(1000, 8), (900, 7), (800, 6), (700, 5)], 0),  # each saves memory
        ([(1000, 8), (1100, 9), (1200, 10)], 0),  # each is faster
        ([(1000, 8), (900, 6), (950, 7)], 0),  # between the two, and beaten by neither
        ([(1000, 8), (900, 6), (890, 6), (990, 9)], 2),
        ([(1000, 8), (1004, 7.97)], 1),  # by less than a percent in both
    ],
)
def test_of_a_front_what_moves_it_is_an_improvement(results, since):
    assert since == trials_since(PARETO, results)


def test_patience_waits_for_a_front_that_still_moves(tmp_path):
    def answer(point):
        run = len(runner.run_points)
        return measured(100.0 - run, peak_bytes=(40 - min(run, 10)) * 2**30)

    runner = FakeRunner(answer)
    made = study(runner, tmp_path=tmp_path, trials=100, patience=4, objective=PARETO)
    assert "no improvement in 4 trials" in made.run(BASELINE).stop_reason
    assert 14 == len(runner.run_points)  # ten that saved memory, and four that did not


def test_least_memory_below_the_floor_is_no_improvement():
    memory = objective("memory", throughput_floor=500.0)
    assert 2 == trials_since(memory, [(600, 8), (450, 1), (400, 1)])
    assert 0 == trials_since(memory, [(400, 1), (450, 2), (600, 8)])


def test_seeds_come_after_the_baseline_and_before_the_samplers_own(tmp_path):
    first = {**BASELINE, "batch.micro_size": "4"}
    second = {**BASELINE, "batch.micro_size": "2"}
    runner = FakeRunner(speed)
    made = study(runner, tmp_path=tmp_path, trials=4)
    made._seeds = lambda: [first, BASELINE, second]  # the baseline has been run already
    made.run(BASELINE)
    assert [BASELINE, first, second] == runner.run_points[:3]
    assert 4 == len(runner.run_points)


def test_what_the_objective_prefers_is_what_a_study_ends_with(tmp_path):
    def answer(point):
        micro = int(point["batch.micro_size"])
        return measured(100.0 * micro, peak_bytes=micro * 2**30)

    result = study(FakeRunner(answer), tmp_path=tmp_path, trials=1000).run(BASELINE)
    assert 4 * 2**30 == best_trial(result.trials).outcome.measurement.peak_bytes
    memory = objective("memory", throughput_floor=150.0)
    assert 2 * 2**30 == best_trial(result.trials, memory).outcome.measurement.peak_bytes
