import pytest

from sweeper.core.equivalence import best_trial, loss_differences
from sweeper.core.outcome import Crashed
from tests.support import measured, trial_of

BASE = (6.2, 6.1, 6.0, 5.9)
OTHER = (6.2, 6.1, 6.1, 6.15)


def test_the_same_losses_are_the_same_training():
    trials = [trial_of(0, measured()), trial_of(1, measured(500.0), **{"zero.stage": 2})]
    assert not loss_differences(trials)[1].trains_differently


def test_a_candidate_that_trains_differently_is_found_at_its_worst_step():
    trials = [trial_of(0, measured(losses=BASE)), trial_of(1, measured(losses=OTHER))]
    difference = loss_differences(trials)[1]
    assert difference.trains_differently
    assert 4 == difference.step
    assert pytest.approx(0.25 / 5.9) == difference.largest


def test_a_loss_that_is_no_number_trains_differently():
    trials = [trial_of(0, measured()), trial_of(1, measured(losses=(float("nan"),) * 4))]
    assert loss_differences(trials)[1].trains_differently


def test_sixteen_bits_are_given_more_room():
    slightly_off = tuple(x * 1.004 for x in BASE)
    for mode, differs in (("fp32", True), ("bf16", False)):
        trials = [
            trial_of(0, measured(losses=BASE)),
            trial_of(1, measured(losses=slightly_off), **{"precision.mode": mode}),
        ]
        assert differs == loss_differences(trials)[1].trains_differently


def test_a_faster_candidate_that_trains_differently_cannot_win():
    trials = [
        trial_of(0, measured(100.0, losses=BASE)),
        trial_of(1, measured(900.0, losses=OTHER)),
        trial_of(2, measured(200.0, losses=BASE)),
    ]
    assert 2 == best_trial(trials).number


def test_without_a_measured_baseline_the_first_measured_trial_is_the_reference():
    trials = [
        trial_of(0, Crashed(reason="x", evidence="", exit_code=1)),
        trial_of(1, measured()),
        trial_of(2, measured()),
    ]
    assert 1 == loss_differences(trials)[2].reference


def test_another_implementation_of_the_optimizer_has_to_train_the_same():
    trials = [
        trial_of(0, measured(losses=BASE)),
        trial_of(1, measured(losses=OTHER), **{"optimizer.implementation": "foreach"}),
        trial_of(2, measured(losses=OTHER), **{"optimizer.lr": 0.5}),
    ]
    assert [1] == [*loss_differences(trials)]


def test_another_workload_is_not_compared():
    trials = [
        trial_of(0, measured(losses=BASE)),
        trial_of(1, measured(losses=OTHER), **{"workload.sequence_length": 16}),
    ]
    assert {} == loss_differences(trials)


def test_the_longer_of_two_runs_is_compared_as_far_as_both_go():
    trials = [trial_of(0, measured(losses=BASE)), trial_of(1, measured(losses=(*BASE, 99.0)))]
    assert not loss_differences(trials)[1].trains_differently
