"""What each option explains of the differences in throughput: planted shares are found again."""

import itertools
import random
from dataclasses import replace

import pytest

from sweeper.core.outcome import Measured
from sweeper.report.explained import explained
from sweeper.report.knobs import knobs_of
from tests.recorded import SPACE, at
from tests.support import measured, trial_of

CHECKPOINTING = "checkpointing.every_nth_block"


def shares(trials, space=SPACE):
    return explained(trials, knobs_of(trials, space))


def grid(rate, *, noise=0.01, seed=1):
    """All of four micro-batches, four stages and two kinds of checkpointing, 32 trials."""
    draw = random.Random(seed)
    names = ("batch.micro_size", "zero.stage", CHECKPOINTING)
    points = itertools.product((1, 2, 4, 8), range(4), (0, 1))
    return [
        at(
            n,
            measured(rate(*point) * draw.lognormvariate(0, noise)),
            **dict(zip(names, point, strict=True)),
        )
        for n, point in enumerate(points)
    ]


def test_the_option_that_makes_nearly_all_of_the_variance_explains_nearly_all_of_it():
    found = shares(grid(lambda micro, stage, _: 1000.0 * micro * (1 - 0.015 * stage)))
    assert pytest.approx(1.0, abs=0.01) == found["batch.micro_size"]
    assert found["zero.stage"] < 0.01
    assert found[CHECKPOINTING] < 0.01


def test_shares_of_evenly_tried_options_are_those_that_were_planted():
    # The variance of four equal steps is 5/4 of a step squared, that of two 1/4; chance is taken off.
    found = shares(grid(lambda _, stage, every: 1000.0 * 1.1**stage * 1.5**every, noise=0.0))
    steps, two = 5 / 4 * 0.0953**2, 1 / 4 * 0.4055**2
    for name, planted, groups in (("zero.stage", steps, 4), (CHECKPOINTING, two, 2)):
        share = planted / (steps + two)
        assert pytest.approx(1 - (1 - share) * 31 / (32 - groups), abs=1e-3) == found[name]


def test_of_what_is_mere_noise_nothing_is_said():
    found = [shares(grid(lambda *_: 1000.0, noise=0.2, seed=seed)) for seed in range(40)]
    assert sum(not study for study in found) > 0.7 * len(found)


def test_numbers_that_each_trial_has_alone_do_not_explain_all():
    draw = random.Random(3)
    trials = [
        trial_of(n, measured(1000.0 * draw.lognormvariate(0, 0.3)), **{"launch.omp_threads": n + 1})
        for n in range(24)
    ]
    assert {} == shares(trials, {})
    rising = [replace(t, outcome=measured(1000.0 * 1.1**n)) for n, t in enumerate(trials)]
    assert 0.8 < shares(rising, {})["launch.omp_threads"] < 1.0


def test_words_that_each_trial_has_alone_are_left_out():
    trials = [at(n, measured(1000.0 * (1 + n % 2)), **{"zero.stage": n % 2}) for n in range(12)]
    trials = [replace(t, point={**t.point, "ds.name": f"word{t.number}"}) for t in trials]
    trials = [replace(t, settings={**t.settings, "ds.name": f"word{t.number}"}) for t in trials]
    found = shares(trials, {**SPACE, "ds.name": []})
    assert 1.0 == pytest.approx(found["zero.stage"])
    assert "ds.name" not in found


def test_an_option_explains_nothing_of_where_it_does_not_act():
    """Else it had the share of the option that it depends on."""

    def trial(n):
        stage = n % 2
        point = {"zero.stage": str(stage)} | ({"ds.knob": str(n % 4)} if stage else {})
        made = trial_of(n, measured(1000.0 * (1 + stage)), point=point, **{"zero.stage": stage})
        return replace(made, settings={**made.settings, "ds.knob": n % 4 if stage else None})

    found = shares([trial(n) for n in range(16)], {"zero.stage": ["0", "1"], "ds.knob": []})
    assert pytest.approx(1.0) == found["zero.stage"]
    assert pytest.approx(0.0) == found["ds.knob"]


def test_few_trials_or_equal_ones_tell_nothing():
    assert {} == shares([at(n, measured(100.0 * (1 + n)), **{"zero.stage": n}) for n in range(4)])
    assert {} == shares([at(n, measured(100.0), **{"zero.stage": n % 4}) for n in range(12)])


def test_who_trains_differently_is_not_counted():
    trials = grid(lambda micro, *_: 1000.0 * micro)
    other = measured(9e9, losses=(6.2, 5.0, 4.0, 3.0))
    assert isinstance(other, Measured)
    spoilt = at(32, other, **{"precision.mode": "bf16"})
    with_it, without = shares([*trials, spoilt]), shares(trials)
    assert without == pytest.approx({n: with_it[n] for n in without})
