"""What measured trials teach the memory model, and how sure it is."""

import pickle
import random

import pytest

from sweeper.core.memory.calibration import Calibration, MemoryEstimate, fits, surely_too_large
from sweeper.core.memory.model import MemoryNeed
from sweeper.core.outcome import Crashed, OutOfMemory
from tests.support import measured, nano

GIB = 2**30


def need(states=4.0, activations=2.0, untouched=0.0):
    return MemoryNeed(
        device={"parameters": round(states * GIB), "activations": round(activations * GIB)},
        host={"framework base": GIB},
        shared=True,
        untouched_bytes=round(untouched * GIB),
    )


def peak(bytes_):
    return measured(peak_bytes=round(bytes_))


def test_without_a_trial_the_formulas_are_believed_to_a_tenth_or_so():
    cold = Calibration().estimate(nano(), need())
    assert cold.mean_bytes == pytest.approx(need().peak_bytes)
    assert 0.08 < cold.deviation_bytes / cold.mean_bytes < 0.18


def test_a_measured_trial_corrects_the_estimate_of_its_like():
    calibration = Calibration()
    for _ in range(3):
        calibration.learn(nano(), need(), peak(1.2 * need().peak_bytes))
    learned = calibration.estimate(nano(), need())
    assert learned.mean_bytes == pytest.approx(1.2 * need().peak_bytes, rel=0.02)
    cold = Calibration().estimate(nano(), need())
    assert learned.deviation_bytes < 0.7 * cold.deviation_bytes


def test_it_finds_out_which_component_is_off():
    calibration = Calibration()
    random_ = random.Random(3)
    for _ in range(40):
        it = need(states=random_.uniform(1, 6), activations=random_.uniform(0.2, 8))
        true = GIB + it.component("parameters") + 1.3 * it.component("activations")
        calibration.learn(nano(), it, peak(true * random_.gauss(1, 0.01)))
    unseen = need(states=0.5, activations=12)
    estimate = calibration.estimate(nano(), unseen)
    assert estimate.mean_bytes == pytest.approx(GIB * (1 + 0.5 + 1.3 * 12), rel=0.05)


def test_a_code_path_that_was_never_measured_stays_uncertain():
    calibration = Calibration()
    for _ in range(20):
        calibration.learn(nano(), need(), peak(need().peak_bytes))
    seen = calibration.estimate(nano(), need())
    unseen = calibration.estimate(nano(**{"zero.stage": 3}), need())
    assert unseen.deviation_bytes > 1.25 * seen.deviation_bytes


def test_trials_that_scatter_leave_doubt():
    steady, scattered = Calibration(), Calibration()
    for sign in [1, -1] * 10:
        steady.learn(nano(), need(), peak(need().peak_bytes))
        scattered.learn(nano(), need(), peak((1 + 0.15 * sign) * need().peak_bytes))
    estimates = [c.estimate(nano(), need()).deviation_bytes for c in (steady, scattered)]
    assert estimates[1] > 3 * estimates[0]


def test_out_of_memory_says_that_the_limit_was_too_little():
    calibration = Calibration()
    limit = round(1.3 * need().peak_bytes)
    outcome = OutOfMemory(memory="host", phase="measure", reason="")
    before = calibration.estimate(nano(), need()).probability_below(limit)
    calibration.learn(nano(), need(), outcome, limit)
    after = calibration.estimate(nano(), need())
    assert before > 0.95
    assert after.probability_below(limit) < 0.8
    assert after.mean_bytes > 1.1 * need().peak_bytes


def test_out_of_memory_far_below_what_was_foreseen_teaches_little():
    calibration = Calibration()
    outcome = OutOfMemory(memory="host", phase="measure", reason="")
    calibration.learn(nano(), need(), outcome, need().peak_bytes // 3)
    estimate = calibration.estimate(nano(), need())
    assert estimate.mean_bytes == pytest.approx(need().peak_bytes, rel=0.001)


def test_a_crash_teaches_nothing():
    calibration = Calibration()
    before = calibration.estimate(nano(), need())
    calibration.learn(nano(), need(), Crashed(reason="", evidence="", exit_code=1), GIB)
    assert calibration.estimate(nano(), need()) == before


def test_what_is_allocated_and_never_touched_counts_within_a_limit():
    estimate = Calibration().estimate(nano(), need(untouched=10))
    assert estimate.mean_bytes == pytest.approx(need().peak_bytes)
    assert surely_too_large(estimate, 12 * GIB)
    assert fits(estimate, 25 * GIB)


def test_the_middle_fits_with_a_probability_of_one_half():
    estimate = MemoryEstimate(mean_bytes=8 * GIB, deviation_bytes=GIB)
    assert estimate.probability_below(8 * GIB) == pytest.approx(0.5)
    assert not fits(estimate, 8 * GIB)
    assert not surely_too_large(estimate, 8 * GIB)


def test_what_is_measured_again_and_again_is_never_certain_to_the_byte():
    calibration = Calibration()
    for _ in range(500):
        calibration.learn(nano(), need(), peak(need().peak_bytes))
    estimate = calibration.estimate(nano(), need())
    assert estimate.deviation_bytes > 0.002 * estimate.mean_bytes


def test_what_is_kept_of_a_thousand_trials_is_no_more_than_of_one():
    calibration = Calibration()
    sizes = []
    for _ in range(1000):
        calibration.learn(nano(), need(), peak(need().peak_bytes))
        sizes.append(len(pickle.dumps(calibration)))
    assert sizes[-1] < sizes[0] + 16  # the digits of a counter
