import math
import random
from collections import Counter
from dataclasses import replace

import pytest

from sweeper.core.contest_record import read_contest, recorded_rounds, write_contest
from sweeper.core.entrants import finalists_of
from sweeper.core.files import read_json, write_json
from sweeper.core.finalists import (
    Contest,
    judge,
    play,
)
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, Measured, OutOfMemory, Stopped
from sweeper.core.ratios import is_above_zero, ratio_of, t_quantile
from sweeper.core.rounds import mean_tokens_per_second, throughput_ratio
from sweeper.report.finalists import finalist_rows, finalists_verdict
from sweeper.report.rates import plus_minus
from tests.support import measured, trial_of

GIB = 2**30
CRASHED = Crashed(reason="a rank died", evidence="", exit_code=-9)


def timed(seconds, *, peak_bytes=GIB):
    base = measured(peak_bytes=peak_bytes).measurement
    return Measured(measurement=replace(base, step_seconds=tuple(seconds)))


class FakeMachine:
    """Measures a known surface: log throughput by trial, with steps, processes and rounds that vary.

    Each measurement is a little slower than the one before, as on a machine that heats up.
    """

    def __init__(self, surface, seed, *, peaks=None, process=0.01, step=0.03, drift=0.05):
        self._surface, self._peaks = surface, peaks or {}
        self._draw = random.Random(seed)
        self._process, self._step, self._drift = process, step, drift
        self._of_round = {}
        self.calls = []

    def __call__(self, number, round_number):
        gauss = self._draw.gauss
        base = self._of_round.setdefault(round_number, gauss(0, self._drift))
        base += self._surface[number] - 0.001 * len(self.calls) + gauss(0, self._process)
        self.calls.append((round_number, number))
        steps = [0.256 * math.exp(gauss(0, self._step) - base) for _ in range(9)]
        return timed(steps, peak_bytes=self._peaks.get(number, GIB))


def contest(*finalists, baseline=0, **more):
    return Contest(finalists=finalists, baseline=baseline, **more)


# Every stage and micro-batch, as trials; log throughput rises to a cliff where memory ends.
POINTS = {
    4 * stage + i: (stage, micro) for stage in range(4) for i, micro in enumerate((1, 2, 4, 8))
}
BASELINE = 0


def surface(gap):
    """The best, and log throughput by trial: the second is behind by ``gap``, the others by more."""
    smooth = {n: 0.12 * math.log2(m) - 0.1 * abs(s - 1) for n, (s, m) in POINTS.items()}
    able = {n: v for n, v in smooth.items() if not runs_out_of_memory(n)}
    best = max(able, key=able.get)
    shift = able[best] - gap - max(v for n, v in able.items() if n != best)
    return best, {n: v if n == best else v + shift for n, v in able.items()}


def runs_out_of_memory(number):
    stage, micro = POINTS[number]
    return micro == 8 and stage < 2


def search(truth, seed, liars):
    """Each candidate once; the liars had a lucky moment, by which they look faster than the best."""
    machine = FakeMachine(truth, seed, drift=0.0)
    for number in POINTS:
        if number not in truth:
            outcome = OutOfMemory(memory="device", phase="warm-up", reason="too large")
        else:
            outcome = machine(number, 0)
            if number in liars:
                m = outcome.measurement
                outcome = timed([s * math.exp(-0.12) for s in m.step_seconds])
        yield replace(TEMPLATE, number=number, outcome=outcome)


TEMPLATE = trial_of(0, measured())


@pytest.mark.parametrize("gap", [0.08, 0.02, 0.002])
def test_the_planted_best_is_found_or_tied_and_the_gain_is_where_it_is_said_to_be(gap):
    best, truth = surface(gap)
    neighbours = sorted(truth, key=truth.get)[-3:-1]
    right, contained, alone, fooled = 0, 0, 0, 0
    for seed in range(100):
        trials = list(search(truth, seed, liars=neighbours))
        finalists = finalists_of(trials, 4)
        fooled += finalists[0] != best
        peaks = {n: GIB + n * 2**28 for n in POINTS}
        result = play(
            contest(*finalists, baseline=BASELINE), FakeMachine(truth, 1000 + seed, peaks=peaks)
        )
        right += best in (result.winner, *result.tied_with)
        alone += result.winner == best and not result.tied_with
        true_gain = math.exp(truth[result.winner] - truth[BASELINE])
        contained += result.gain.low <= true_gain <= result.gain.high
    assert fooled >= 90  # else the search would have been right without finalists
    assert right >= 95
    assert contained >= 90  # 95 are meant; less than three standard deviations of the count below
    if gap == 0.08:  # a tie is no way out where the difference is plain
        assert alone >= 95


def test_what_cannot_be_told_apart_is_a_tie_and_goes_to_less_memory():
    peaks = {0: 8 * GIB, 1: 4 * GIB, 2: 3 * GIB, 3: 5 * GIB}
    truth = {0: 0.0, 1: 0.5, 2: 0.499, 3: 0.5}
    result = play(contest(1, 2, 3), FakeMachine(truth, 1, peaks=peaks))
    assert 2 == result.winner
    assert {1, 3} == set(result.tied_with)
    assert 6 == len(result.rounds)
    assert result.lead.low < 1 < result.lead.high


def test_a_tie_at_the_same_memory_goes_to_the_fastest():
    peaks = {0: GIB, 1: GIB, 2: int(0.999 * GIB)}
    result = play(
        contest(1, 2, max_rounds=3),
        FakeMachine({0: 0.0, 1: 0.52, 2: 0.5}, 3, peaks=peaks, process=0.02),
    )
    assert (1, (2,)) == (result.winner, result.tied_with)


def test_a_clear_winner_ends_the_rounds_early():
    result = play(contest(1, 2), FakeMachine({0: 0.0, 1: 0.5, 2: 0.2}, 1, process=0.001))
    assert (1, (), 2) == (result.winner, result.tied_with, result.runner_up)
    assert 3 == len(result.rounds)
    assert "the lead was clear after 3 rounds" == result.stop_reason


def test_who_is_clearly_behind_sits_out_but_the_baseline_does_not():
    machine = FakeMachine({0: 0.0, 1: 0.5, 2: 0.5, 3: 0.1}, 1, process=0.002)
    result = play(contest(1, 2, 3), machine)
    taken_part = Counter(number for _, number in machine.calls)
    assert {0: 6, 1: 6, 2: 6, 3: 3} == taken_part
    assert 3 not in (result.winner, *result.tied_with)


def test_every_other_round_goes_backwards():
    machine = FakeMachine({0: 0.0, 1: 0.5, 2: 0.2}, 1, process=0.001)
    play(contest(1, 2), machine)
    orders = [[n for r, n in machine.calls if r == number] for number in (1, 2, 3)]
    assert [[0, 1, 2], [2, 1, 0], [0, 1, 2]] == orders


def test_what_slows_a_whole_round_down_changes_nothing():
    truth = {0: 0.0, 1: 0.3, 2: 0.2}
    calm = play(contest(1, 2), FakeMachine(truth, 5, drift=0.0, process=0.0, step=0.0))
    stormy = play(contest(1, 2), FakeMachine(truth, 5, drift=0.7, process=0.0, step=0.0))
    assert calm.winner == stormy.winner
    assert calm.gain.value == pytest.approx(stormy.gain.value)


def test_a_finalist_that_fails_once_is_out_with_its_reason():
    machine = FakeMachine({0: 0.0, 1: 0.9, 2: 0.2}, 1, process=0.001)

    def flaky(number, round_number):
        if (number, round_number) == (1, 2):
            return CRASHED
        return machine(number, round_number)

    result = play(contest(1, 2), flaky)
    assert 2 == result.winner
    assert {1: "crashed in round 2: a rank died"} == result.failed
    assert (3, 1) not in machine.calls


def test_without_a_survivor_there_is_no_winner():
    result = play(contest(1, 2), lambda *_: CRASHED)
    assert (None, None, None) == (result.winner, result.gain, result.lead)
    assert "every finalist failed" == result.stop_reason
    assert {0, 1, 2} == set(result.failed)


def test_nobody_is_measured_again_where_there_is_nothing_to_compare_with():
    result = play(contest(4, baseline=None), lambda *_: pytest.fail("was measured"))
    assert (4, ()) == (result.winner, result.rounds)


def test_the_baseline_can_win_and_then_there_is_no_gain():
    result = play(contest(1), FakeMachine({0: 0.5, 1: 0.0}, 1, process=0.001))
    assert (0, None) == (result.winner, result.gain)


def test_the_finalists_are_the_best_that_train_as_the_baseline_does():
    trials = [
        trial_of(0, measured(1000)),
        trial_of(1, measured(3000)),
        trial_of(2, measured(9000, losses=(6.2, 5.0, 4.0, 3.0))),
        trial_of(3, CRASHED),
        trial_of(4, measured(2000)),
        trial_of(5, measured(3000, peak_bytes=GIB // 2)),
    ]
    assert (5, 1, 4) == finalists_of(trials, 3)


def test_a_trial_that_was_stopped_early_may_be_a_finalist():
    near = Stopped(measurement=measured(2900).measurement, reason="clearly beaten")
    trials = [trial_of(0, measured(1000)), trial_of(1, measured(3000)), trial_of(2, near)]
    assert (1, 2) == finalists_of(trials, 2)


def recording(folder, machine):
    def measure(number, round_number):
        outcome = machine(number, round_number)
        trial = replace(TEMPLATE, number=number, outcome=outcome)
        write_json(folder.trial(round_number, number).trial, trial.to_json())
        return outcome

    return measure


def test_an_interrupted_contest_goes_on_and_keeps_its_whole_rounds(tmp_path):
    folder = StudyFolder(tmp_path).finalists
    truth = {0: 0.0, 1: 0.5, 2: 0.49}

    class Interrupting(FakeMachine):
        def __call__(self, number, round_number):
            if len(self.calls) == 5:
                raise KeyboardInterrupt
            return super().__call__(number, round_number)

    with pytest.raises(KeyboardInterrupt):
        play(contest(1, 2), recording(folder, Interrupting(truth, 1)))
    machine = FakeMachine(truth, 2)
    result = play(contest(1, 2), recording(folder, machine), recorded_rounds(folder))
    assert {2, 3, 4, 5, 6} == {round_number for round_number, _ in machine.calls}
    assert 3 == Counter(machine.calls)[(2, 0)] + Counter(machine.calls)[(2, 1)] + 1
    write_contest(folder, contest(1, 2), result)
    assert (contest(1, 2), result) == read_contest(folder)


def test_rounds_are_joined_by_trial_number_whatever_their_order():
    machine = FakeMachine({0: 0.0, 1: 0.3, 2: 0.25}, 7)
    result = play(contest(1, 2), machine)
    shuffled = [dict(sorted(found.items(), reverse=True)) for found in result.rounds]
    again = judge(contest(1, 2), shuffled)
    assert (result.winner, result.gain, result.lead) == (again.winner, again.gain, again.lead)


def test_the_number_of_a_finalist_is_the_geometric_mean_of_the_medians_of_its_rounds():
    rounds = [{1: timed([0.256, 0.256, 9.0])}, {1: timed([0.064] * 3)}, {2: timed([0.001])}]
    assert pytest.approx(2000) == mean_tokens_per_second(rounds, 1, None)
    assert mean_tokens_per_second(rounds, 3, None) is None


def test_one_rate_over_another_is_the_printed_ratio_also_of_who_sat_rounds_out():
    machine = FakeMachine({0: 0.0, 1: 0.5, 2: 0.5, 3: 0.1}, 1, process=0.002, drift=0.3)
    result = play(contest(1, 2, 3), machine)
    assert {3} == {n for n in (1, 2, 3) if n not in result.rounds[-1]}
    won = result.tokens_per_second(result.winner)
    assert pytest.approx(result.gain.value, rel=1e-12) == won / result.tokens_per_second(0)
    behind = throughput_ratio(result.rounds, 3, result.winner)
    assert pytest.approx(behind.value, rel=1e-12) == result.tokens_per_second(3) / won


def test_the_summary_and_the_table_have_the_same_rate(tmp_path):
    folder = StudyFolder(tmp_path).finalists
    result = play(contest(1, 2), recording(folder, FakeMachine({0: 0.0, 1: 0.5, 2: 0.2}, 1)))
    write_contest(folder, contest(1, 2), result)
    told = {t["trial"]: t for t in read_json(folder.summary)["trials"]}
    for row in finalist_rows(result, []):
        number = int(row[0].split()[0])
        rate, spread = told[number]["tokens_per_second"], told[number]["spread"]
        assert plus_minus(rate, rate * spread) == row[1]


def test_the_search_of_a_finalist_that_was_stopped_is_told_with_its_few_steps():
    result = play(contest(1, 2), FakeMachine({0: 0.0, 1: 0.5, 2: 0.2}, 1, process=0.001))
    stopped = Stopped(measurement=measured(2900).measurement, reason="clearly beaten")
    rows = finalist_rows(result, [trial_of(2, stopped)])
    assert "2,900 (3 steps)" == rows[1][-1]


def test_only_rounds_that_both_ran_tell_their_ratio():
    fast, slow = timed([0.1] * 3), timed([0.2] * 3)
    rounds = [{1: fast, 2: slow}, {1: slow}, {1: fast, 2: slow}, {1: CRASHED, 2: slow}]
    assert pytest.approx(2.0) == throughput_ratio(rounds, 1, 2).value
    assert throughput_ratio(rounds[:2], 1, 2) is None


@pytest.mark.parametrize(
    ("probability", "degrees", "published"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 5, 2.571),
        (0.995, 4, 4.604),
        (0.95, 7, 1.895),
        (0.9995, 10, 4.587),
        (0.975, 120, 1.980),
    ],
)
def test_the_quantiles_of_students_t_are_the_published_ones(probability, degrees, published):
    assert pytest.approx(published, abs=5e-4) == t_quantile(probability, degrees)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_an_interval_contains_the_true_ratio_as_often_as_it_says(count):
    draw = random.Random(count)
    hits = 0
    for _ in range(2000):
        found = ratio_of([draw.gauss(0.2, 0.05) for _ in range(count)])
        hits += found.low <= math.exp(0.2) <= found.high
    assert 0.935 <= hits / 2000 <= 0.965  # three standard deviations of the count


def test_a_difference_of_nothing_is_seldom_taken_for_one():
    draw = random.Random(1)
    wrong = sum(
        is_above_zero([draw.gauss(0, 1) for _ in range(4)], error=0.025) for _ in range(2000)
    )
    assert 0.015 <= wrong / 2000 <= 0.036


def section(result, trials=()):
    rows = [" | ".join(row) for row in finalist_rows(result, trials)]
    return "\n".join([finalists_verdict(result), *rows])


def test_the_report_names_the_winner_its_lead_and_its_gain():
    result = play(contest(1, 2), FakeMachine({0: 0.0, 1: 0.5, 2: 0.2}, 1, process=0.001))
    text = section(result, [trial_of(1, measured(1234))])
    assert "Trial 1 wins: in 3 rounds" in text
    assert f"reached {result.lead} times the throughput of the runner-up, trial 2." in text
    assert f"{result.gain} times the baseline's (95 % interval)" in text
    rows = text.splitlines()[1:]
    assert rows[0].startswith("1 | ")
    assert rows[0].endswith(" | 1 | 3 | 1.00 GiB | 1,234 ± 12")
    assert rows[2].startswith("0 (baseline) | ")


def test_the_report_says_a_tie_is_a_tie_and_why_one_is_taken():
    peaks = {1: 4 * GIB, 2: 3 * GIB}
    result = play(contest(1, 2), FakeMachine({0: 0.0, 1: 0.5, 2: 0.5}, 1, peaks=peaks))
    text = section(result)
    assert "A tie: after 6 rounds of fresh processes, taking turns, trials 2, 1 cannot be" in text
    assert "Trial 2 is taken, for its memory." in text


def test_the_report_has_the_reason_of_a_finalist_that_failed():
    machine = FakeMachine({0: 0.0, 2: 0.2}, 1)
    result = play(contest(1, 2), lambda n, r: CRASHED if n == 1 else machine(n, r))
    assert "crashed in round 1: a rank died" in section(result)
