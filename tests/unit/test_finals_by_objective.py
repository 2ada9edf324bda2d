"""The finals of a study that is after memory, cost or both: who is measured again, and who wins."""

from dataclasses import replace

import pytest

from sweeper.core.contest_record import read_contest, write_contest
from sweeper.core.entrants import finalists_of
from sweeper.core.files import write_json
from sweeper.core.finalists import Contest, play
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import Objective
from sweeper.core.standing import standing
from sweeper.hydra_edge.conclude import contest_of
from sweeper.report.finalists import finalists_verdict
from sweeper.report.verdict import verdict
from tests.support import measured, trial_of

GIB = 2**30


def objective(kind, **more):
    return Objective(kind=kind, target_tokens=1e9, price_per_device_hour=2.0, **more)


def on_ranks(outcome, ranks):
    return replace(outcome, measurement=replace(outcome.measurement, ranks=ranks))


def played(after, outcomes, *, noise=0.004, **more):
    """Every other round is a little faster, for each trial another one."""

    def measure(number, round_number):
        outcome = outcomes[number]
        m = outcome.measurement
        off = 1 + noise * (-1) ** (round_number + number)
        return replace(
            outcome, measurement=replace(m, step_seconds=tuple(s * off for s in m.step_seconds))
        )

    finalists = tuple(n for n in outcomes if n != 0)
    return play(Contest(finalists=finalists, baseline=0, objective=after, **more), measure)


def trials(outcomes):
    return [trial_of(number, outcome) for number, outcome in outcomes.items()]


BASELINE = measured(1000, peak_bytes=4 * GIB)


def test_the_least_memory_that_keeps_the_baselines_throughput_wins():
    result = played(
        objective("memory"),
        {
            0: BASELINE,
            1: measured(2000, peak_bytes=3 * GIB),
            2: measured(1100, peak_bytes=2 * GIB),
            3: measured(900, peak_bytes=GIB),  # below the floor
        },
    )
    assert (2, (), 1, (3,)) == (result.winner, result.tied_with, result.runner_up, result.below)
    assert pytest.approx(1.5) == result.lead.value
    assert pytest.approx(2.0) == result.advantage.value
    text = finalists_verdict(result)
    assert "the runner-up, trial 1, needed 1.50 (1.50 to 1.50) times its memory." in text
    assert "Trial 3 did not reach the floor of throughput." in text


def test_a_floor_that_was_typed_stands_before_the_baselines():
    outcomes = {
        0: BASELINE,
        1: measured(2000, peak_bytes=3 * GIB),
        2: measured(1100, peak_bytes=2 * GIB),
    }
    assert 1 == played(objective("memory", throughput_floor=1500.0), outcomes).winner


def test_where_nobody_reaches_the_floor_the_fastest_wins():
    outcomes = {
        0: BASELINE,
        1: measured(2000, peak_bytes=3 * GIB),
        2: measured(1100, peak_bytes=2 * GIB),
    }
    after = objective("memory", throughput_floor=9000.0)
    result = played(after, outcomes)
    assert (1, "throughput") == (result.winner, result.objective.kind)
    assert "Nothing reached the floor of throughput" in finalists_verdict(result)
    said = verdict(standing(trials(outcomes), after, result))
    assert "trial 1 is the fastest, since none reaches 9,000 tokens/s" in said


def test_memory_that_is_the_same_but_for_a_few_percent_goes_to_the_faster():
    result = played(
        objective("memory"),
        {
            0: measured(1000, peak_bytes=8 * GIB),
            1: measured(1100, peak_bytes=2 * GIB),
            2: measured(1500, peak_bytes=int(2.05 * GIB)),
        },
    )
    assert (2, (1,)) == (result.winner, result.tied_with)


def test_the_floor_is_of_the_same_round_so_that_a_slower_day_fails_nobody():
    outcomes = {0: measured(500, peak_bytes=4 * GIB), 1: measured(510, peak_bytes=2 * GIB)}
    result = played(objective("memory"), outcomes, noise=0.0)  # the search saw twice that
    searched = {0: BASELINE, 1: measured(1020, peak_bytes=2 * GIB)}
    how = standing(trials(searched), objective("memory"), result)
    assert 1 == how.winner.number
    assert 500 == pytest.approx(how.objective.throughput_floor, rel=0.01)
    said = verdict(how)
    assert "trial 1 needs the least memory at 500 tokens/s or more" in said
    assert "times the baseline's tokens/s (95 % interval) and 0.50 times its 4.00 GiB" in said


def test_who_costs_less_wins_though_it_is_slower():
    outcomes = {
        0: BASELINE,
        1: on_ranks(measured(3000), 4),
        2: on_ranks(measured(2400), 2),
    }
    result = played(objective("cost"), outcomes)
    assert (2, 0) == (result.winner, result.runner_up)
    assert pytest.approx(1.2, rel=0.01) == result.advantage.value
    assert pytest.approx(2.4, rel=0.01) == result.gain.value
    assert "each of its ranks reached 1.20" in finalists_verdict(result)


def test_the_whole_front_is_measured_again_and_its_fastest_wins():
    outcomes = {
        0: BASELINE,
        1: measured(2000, peak_bytes=8 * GIB),
        2: measured(1900, peak_bytes=9 * GIB),  # slower, and needs more
        3: measured(1500, peak_bytes=3 * GIB),
        4: measured(500, peak_bytes=GIB),
        5: measured(1200, peak_bytes=2 * GIB),
    }
    front = finalists_of(trials(outcomes), 2, objective("pareto"))
    assert (1, 3, 5, 4) == front
    assert () == finalists_of(trials(outcomes), 0, objective("pareto"))
    result = played(objective("pareto"), {n: outcomes[n] for n in (0, *front)})
    assert (1, ()) == (result.winner, result.tied_with)
    assert all(sum(n in found for found in result.rounds) >= 3 for n in front)


def test_the_finalists_of_memory_reach_the_baselines_throughput():
    outcomes = {
        0: BASELINE,
        1: measured(900, peak_bytes=GIB),
        2: measured(1100, peak_bytes=2 * GIB),
        3: measured(1200, peak_bytes=3 * GIB),
    }
    assert (2, 3) == finalists_of(trials(outcomes), 2, objective("memory"))


KINDS = ["throughput", "memory", "cost", "pareto", "time_to_target"]


@pytest.mark.parametrize("kind", KINDS)
def test_finals_are_played_whatever_a_study_is_after(kind):
    outcomes = {
        0: BASELINE,
        1: measured(2000, peak_bytes=3 * GIB),
        2: on_ranks(measured(2500, peak_bytes=2 * GIB), 2),
    }
    options = {"finalists": 3, "finalist_rounds": 4}
    contest = contest_of(trials(outcomes), objective(kind), options)
    assert (kind, 0, 4) == (contest.objective.kind, contest.baseline, contest.max_rounds)
    assert {2} <= set(contest.finalists)
    assert contest_of(trials(outcomes), objective(kind), options | {"finalists": 0}) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_decided_is_written_down_and_read_again(tmp_path, kind):
    outcomes = {0: BASELINE, 1: measured(1100, peak_bytes=2 * GIB)}
    contest = Contest(finalists=(1,), baseline=0, objective=objective(kind), max_rounds=3)
    result = play(contest, lambda number, round_number: outcomes[number])
    folder = StudyFolder(tmp_path).finalists
    for number, found in enumerate(result.rounds, start=1):
        for n, outcome in found.items():
            write_json(folder.trial(number, n).trial, trial_of(n, outcome).to_json())
    write_contest(folder, contest, result)
    assert (contest, result) == read_contest(folder)
