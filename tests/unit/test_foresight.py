from dataclasses import replace

import pytest

from sweeper.core.foresight import DOES_NOT_FIT, Foresight
from sweeper.core.machine import Machine
from sweeper.core.outcome import Infeasible, Measured, OutOfMemory, Stopped
from sweeper.core.plan import plan
from sweeper.core.spec import TrialSpec
from tests.support import MACHINE, measured, nano, trial_of
from tests.unit.test_memory_model import PROFILE, need

GIB = 2**30
GPU = Machine(cores=16, host_memory_bytes=64 * GIB, devices=8, device_memory_bytes=80 * GIB)
ROOMY = Machine(cores=2, host_memory_bytes=2**40)
ON_GPU = {"hardware.accelerator": "cuda", "precision.mode": "bf16"}


def planned(machine=MACHINE, **changes):
    return plan(nano(**{"workload.global_batch_size": 64, **changes}), machine)


def foresight(machine=MACHINE):
    return Foresight(lambda settings: PROFILE, machine)


def test_what_surely_does_not_fit_is_refused_with_what_it_needs():
    limited = planned(**{"hardware.memory_limit": "4GiB"})
    refused = foresight().planned(limited).ready
    assert isinstance(refused, Infeasible)
    assert DOES_NOT_FIT == refused.rule
    assert "a rank needs about" in refused.reason
    assert "has 4.00 GiB" in refused.reason
    assert need().limited_bytes / (4 * GIB) - 1 == pytest.approx(refused.violation, rel=0.01)


def test_what_fits_is_left_as_it_is_and_likely():
    roomy = planned(ROOMY, **{"hardware.memory_limit": "900GiB"})
    assert roomy == foresight().planned(roomy)
    assert foresight().likelihood(roomy) > 0.99


def test_near_the_limit_it_is_neither_refused_nor_sure():
    near = planned(ROOMY, **{"hardware.memory_limit": f"{need().limited_bytes}B"})
    assert isinstance(foresight().planned(near).ready, TrialSpec)
    assert 0.3 < foresight().likelihood(near) < 0.7


def test_what_a_candidate_will_need_is_told_where_anything_is_known_of_it():
    estimate = foresight().estimate(planned())
    assert need().limited_bytes == pytest.approx(
        estimate.mean_bytes + estimate.untouched_bytes, rel=0.01
    )
    assert foresight().estimate(planned(**{"offload.optimizer": "cpu"})) is None
    assert Foresight(lambda settings: None, MACHINE).estimate(planned()) is None


def test_an_illegal_plan_has_no_chance():
    assert 0.0 == foresight().likelihood(planned(**{"offload.optimizer": "cpu"}))


def test_what_a_rank_will_need_is_known_before_its_trial_and_better_after_one():
    roomy = planned(ROOMY, **{"hardware.memory_limit": "900GiB"})
    mind = foresight()
    before = mind.estimate(roomy)
    assert pytest.approx(need().peak_bytes) == before.mean_bytes
    double = measured(peak_bytes=2 * need().peak_bytes)
    mind.learn(trial_of(0, double, **{"workload.global_batch_size": 64}))
    assert before.mean_bytes < mind.estimate(roomy).mean_bytes < 2 * need().peak_bytes


def test_what_is_not_run_needs_nothing():
    assert foresight().estimate(planned(**{"offload.optimizer": "cpu"})) is None


def test_without_a_profile_it_has_no_opinion():
    limited = planned(**{"hardware.memory_limit": "1GiB"})
    blind = Foresight(lambda settings: None, MACHINE)
    assert limited == blind.planned(limited)
    assert 1.0 == blind.likelihood(limited)
    assert blind.estimate(limited) is None
    blind.learn(trial_of(0, measured()))
    assert blind.longest_sequence(trial_of(0, measured())).tokens is None


@pytest.mark.parametrize("kind", [Measured, Stopped])
def test_it_learns_from_measured_and_from_stopped_trials(kind):
    changes = {"workload.global_batch_size": 64}
    truth = int(0.9 * need().peak_bytes)
    limit = int(0.95 * need().peak_bytes) + need().untouched_bytes
    near = planned(ROOMY, **{"hardware.memory_limit": f"{limit}B"})
    seer = foresight()
    before = seer.likelihood(near)
    m = measured(peak_bytes=truth).measurement
    outcome = Measured(measurement=m) if kind is Measured else Stopped(measurement=m, reason="x")
    for number in range(5):
        seer.learn(trial_of(number, outcome, **changes))
    assert before < 0.5 < 0.8 < seer.likelihood(near)


def test_it_learns_from_what_ran_out_of_memory():
    limit = int(1.1 * need().limited_bytes)
    changes = {"workload.global_batch_size": 64, "hardware.memory_limit": f"{limit}B"}
    near = planned(ROOMY, **changes)
    seer = foresight()
    before = seer.likelihood(near)
    out = OutOfMemory(memory="host", phase="warm-up", reason="x")
    seer.learn(replace(trial_of(0, out, **changes), memory_limit_bytes=limit))
    assert seer.likelihood(near) < before


def test_a_host_too_small_for_what_all_ranks_offload_is_seen_too():
    offloaded = {**ON_GPU, "zero.stage": 3, "offload.optimizer": "cpu", "hardware.ranks": 1}
    small = Machine(cores=16, host_memory_bytes=4 * GIB, devices=8, device_memory_bytes=80 * GIB)
    refused = foresight(small).planned(planned(small, **offloaded)).ready
    assert isinstance(refused, Infeasible)
    assert "the host needs about" in refused.reason
    assert isinstance(foresight(GPU).planned(planned(GPU, **offloaded)).ready, TrialSpec)


def test_the_longest_sequence_is_foretold_from_what_trials_have_taught():
    trial = trial_of(0, measured(), **{"workload.global_batch_size": 64})
    longest = foresight().longest_sequence(trial)
    assert 1024 == longest.tokens
    assert longest.need_bytes > need().limited_bytes
    assert longest.limit_bytes == MACHINE.host_memory_bytes
    assert longest.deviation_bytes > 0


def test_a_winner_at_the_longest_sequence_needs_no_foretelling():
    at_it = {"workload.global_batch_size": 64, "workload.sequence_length": 1024}
    trial = trial_of(0, measured(), **at_it, **{"model.max_positions": 1024})
    longest = foresight().longest_sequence(trial)
    assert (1024, None) == (longest.tokens, longest.need_bytes)


def test_a_host_that_is_said_to_be_small_is_too_small():
    offloaded = {**ON_GPU, "zero.stage": 3, "offload.optimizer": "cpu", "hardware.ranks": 1}
    small = planned(GPU, **offloaded, **{"hardware.host_memory": "4GiB"})
    assert isinstance(foresight(GPU).planned(small).ready, Infeasible)
