"""What a report says that a study did not look at, by why it did not."""

import pytest

from sweeper.core.outcome import Crashed
from sweeper.core.standing import standing
from sweeper.core.study import INTERRUPTED
from sweeper.report.knobs import knobs_of
from sweeper.report.page.blocks import plain
from sweeper.report.page.facts import FROM_OUTSIDE, StudyFacts
from sweeper.report.page.unexplored import unexplored
from tests.recorded import SPACE, at
from tests.support import measured

BETTER = at(1, measured(200.0), **{"zero.stage": 1})
FAILED = Crashed(reason="x", evidence="", exit_code=1)
ONCE = "No finals: the winner was measured once, in one process."


def said(trials, *, finalists=None, stop_reason="2 trials were run", space=SPACE, grid=False):
    study = {"space": space, "arguments": [], "sweeper": {"finalists": finalists}}
    facts = StudyFacts(
        title="s",
        place="results/s",
        how=standing(trials),
        stop_reason=stop_reason,
        knobs=knobs_of(trials, {} if grid else space),
        study={} if grid else study,
    )
    return "\n".join(plain(text) for text in unexplored(facts))


@pytest.mark.parametrize("stop_reason", [INTERRUPTED, FROM_OUTSIDE])
def test_an_ended_study_goes_on_to_its_finals(stop_reason):
    for trials in ([at(0, measured(100.0))], [at(0, measured(100.0)), BETTER]):
        text = said(trials, finalists=3, stop_reason=stop_reason)
        assert (
            f"{ONCE} The study ended before them; python -m sweeper resume=results/s goes on."
            in text
        )
        assert "hydra.sweeper.finalists" not in text


def test_finals_that_were_interrupted_before_a_round_was_whole_go_on_too():
    text = said([at(0, measured(100.0)), BETTER], finalists=3)
    assert "The study ended before them; python -m sweeper resume=results/s goes on." in text


def test_a_plain_grid_has_no_finals_to_be_asked_for():
    text = said([at(0, measured(100.0)), BETTER], grid=True)
    assert f"{ONCE} A study, hydra/sweeper=optuna, measures the best few again." in text
    assert "finalists" not in text


def test_finals_of_a_baseline_alone_are_none():
    text = said([at(0, measured(300.0)), BETTER], finalists=1)
    assert (
        f"{ONCE} It is the baseline, and no other was asked for. python -m sweeper resume=results/s "
        "hydra.sweeper.finalists=3 measures the best few again." in text
    )


def test_finals_that_nobody_asked_for_are_asked_for_by_going_on():
    text = said([at(0, measured(100.0)), BETTER], finalists=0)
    assert f"{ONCE} python -m sweeper resume=results/s hydra.sweeper.finalists=3 measures" in text


def test_a_single_measured_trial_has_nobody_to_be_compared_with():
    text = said([at(0, measured(100.0)), at(1, FAILED, **{"zero.stage": 1})], finalists=3)
    assert f"{ONCE} There was nothing to compare it with." in text
    assert "resume=" not in text


def test_where_nothing_was_measured_no_speed_is_told_and_one_that_works_is_hoped_for():
    text = said([at(0, FAILED), at(1, FAILED, **{"zero.stage": 1})], finalists=3)
    assert "2 were tried, about 126 were not looked at. One that works may be among them." in text
    assert "faster" not in text
    assert "Speed" not in text
    assert "No finals" not in text


def test_one_is_not_said_to_be_many():
    text = said([at(0, measured(100.0))], space={"zero.stage": ["0", "1"]})
    assert "The space has 2 candidates: 1 was tried, about 1 was not looked at. A faster" in text
    whole = said([at(0, measured(100.0)), BETTER], space={"zero.stage": ["0", "1"]})
    assert "The space has 2 candidates: 2 were tried.\n" in whole
    assert "Of a grid 1 was run;" in said([at(0, measured(100.0))], grid=True)
    large = {"optimizer.lr": "Interval(low=0.1, high=1.0)"}
    assert "too large to list 1 was tried." in said([at(0, measured(100.0))], space=large)
