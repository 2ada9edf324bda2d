import json
import statistics

import pytest

from sweeper.core.equivalence import best_trial
from sweeper.core.measurement import median_absolute_deviation
from sweeper.core.outcome import (
    Crashed,
    Diverged,
    Infeasible,
    OutOfMemory,
    TimedOut,
    Unsupported,
    kind_of,
    outcome_from_json,
    outcome_to_json,
    reason_of,
)
from sweeper.core.trial import Trial
from tests.support import measured, trial_of

EVERY_KIND = [
    measured(),
    OutOfMemory(memory="host", phase="warm-up", reason="no memory"),
    Infeasible(rule="a-rule", reason="not allowed", violation=0.5),
    Unsupported(reason="no fp16"),
    Diverged(reason="nan"),
    TimedOut(phase="measure", reason="too long"),
    Crashed(reason="boom", evidence="a\nb", exit_code=1),
]


@pytest.mark.parametrize("outcome", EVERY_KIND, ids=kind_of)
def test_an_outcome_survives_json_whole(outcome):
    assert outcome == outcome_from_json(json.loads(json.dumps(outcome_to_json(outcome))))


@pytest.mark.parametrize("outcome", EVERY_KIND[1:], ids=kind_of)
def test_whatever_was_not_measured_has_a_reason(outcome):
    assert reason_of(outcome)


def test_a_trial_survives_json_whole():
    trial = trial_of(3, measured(), overrides=("zero=stage2",), **{"zero.stage": 2})
    assert trial == Trial.from_json(json.loads(json.dumps(trial.to_json())))


def test_rates_come_from_the_median_step():
    m = measured(1000.0, spread=0.5).measurement
    assert pytest.approx(1000.0) == m.tokens_per_second
    assert pytest.approx(1000.0 * 8 / 256) == m.samples_per_second
    assert pytest.approx(statistics.median(m.step_seconds)) == m.median_step_seconds


def test_the_median_absolute_deviation_shrugs_off_one_straggler():
    assert 1 == median_absolute_deviation([9, 10, 11, 10, 500, 8, 12])


def test_the_fastest_measured_trial_is_best_and_of_equals_the_one_with_less_memory():
    trials = [
        trial_of(0, measured(100.0)),
        trial_of(1, Crashed(reason="x", evidence="", exit_code=1)),
        trial_of(2, measured(200.0, peak_bytes=3 * 2**30)),
        trial_of(3, measured(200.0, peak_bytes=2**30)),
    ]
    assert 3 == best_trial(trials).number
    assert best_trial(trials[1:2]) is None
