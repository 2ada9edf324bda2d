"""``verify`` with a fake in the place of the ranks: what it claims, compares, and says, by objective."""

from dataclasses import asdict, replace

import pytest
import yaml

from sweeper.core.contest_record import write_contest
from sweeper.core.files import write_json, write_text
from sweeper.core.finalists import Contest, judge
from sweeper.core.folder import StudyFolder
from sweeper.core.machine import Machine
from sweeper.core.objective import Objective
from sweeper.core.outcome import Crashed, Unsupported
from sweeper.core.plan import plan
from sweeper.errors import EnvironmentUnfit, GainGone
from sweeper.run.claim import claim_of
from sweeper.run.verify import environment_changes, verify
from sweeper.terminal import Terminal
from tests.support import MACHINE, measured, nano, trial_of

GIB = 2**30
CRASHED = Crashed(reason="a rank died", evidence="", exit_code=1)
HERE = {"device": "a CPU", "torch": "2.13.0", "deepspeed": "0.19.8"}


def objective(kind, **more):
    price = 2.0 if kind == "cost" else None
    return Objective(kind=kind, target_tokens=1e9, price_per_device_hour=price, **more)


def on_ranks(outcome, ranks):
    return replace(outcome, measurement=replace(outcome.measurement, ranks=ranks))


def study(path, after, *outcomes, rounds=()):
    """Trials of these outcomes; finals between all of them where there are rounds."""
    folder = StudyFolder(path)
    trials = [trial_of(n, outcome) for n, outcome in enumerate(outcomes)]
    for trial in trials:
        own = folder.trial(trial.number)
        write_json(own.trial, trial.to_json())
        write_json(own.spec, plan(nano(), MACHINE).ready.to_json())
    write_text(folder.study, yaml.safe_dump({"config": {"objective": asdict(after)}}))
    for number, found in enumerate(rounds, start=1):
        for n, outcome in found.items():
            again = replace(trials[n], outcome=outcome)
            write_json(folder.finalists.trial(number, n).trial, again.to_json())
    if rounds:
        finalists = tuple(range(1, len(outcomes)))
        contest = Contest(finalists=finalists, baseline=0, objective=after)
        write_contest(folder.finalists, contest, judge(contest, rounds))
    return folder


def verified(folder, now, *, look=lambda accelerator: (MACHINE, HERE)):
    """``now`` takes a trial's number to what becomes of it."""

    def again(trial, spec, to, terminal):
        number = int(to.path.parent.name.partition("-")[2])
        outcome = now[trial.number]
        outcome = outcome(number) if callable(outcome) else outcome
        trial = replace(trial, outcome=outcome)
        write_json(to.trial, trial.to_json())
        return trial

    stamp = str(len(list(folder.path.glob("verify-*.json"))))
    return verify(str(folder.path), stamp=stamp, terminal=Terminal(), look=look, again=again)


def shaky(rate, **more):
    """One percent up and down from round to round."""
    return lambda number: measured(rate * (1 + 0.01 * (-1) ** number), **more)


SEARCHED = {
    # The fastest, the smallest at the baseline's speed, the smallest of all, the cheapest.
    1: measured(2000, peak_bytes=8 * GIB),
    2: measured(1100, peak_bytes=2 * GIB),
    3: measured(500, peak_bytes=GIB),
    4: on_ranks(measured(1900, peak_bytes=6 * GIB), 1),
}
BASELINE = measured(1000, peak_bytes=4 * GIB)


@pytest.mark.parametrize(
    ("kind", "winner", "was"),
    [
        ("throughput", 1, "2.00"),
        ("time_to_target", 1, "2.00"),
        ("memory", 2, "0.50"),
        ("pareto", 1, "2.00"),
        ("cost", 4, "1.90"),
    ],
)
def test_the_claim_is_of_the_winner_that_the_report_names(tmp_path, kind, winner, was):
    searched = [BASELINE, *SEARCHED.values()]
    if kind == "cost":
        searched[1] = on_ranks(searched[1], 2)
    claim = claim_of(study(tmp_path / "mine", objective(kind), *searched), "mine")
    assert winner == claim.winner.number
    assert f"was {was} in the search, where each ran once" == claim.was


def test_less_memory_at_the_floor_holds_though_it_is_no_faster(tmp_path):
    folder = study(tmp_path, objective("memory"), BASELINE, SEARCHED[1], SEARCHED[2])
    now = {0: measured(1000, peak_bytes=4 * GIB), 2: shaky(1000, peak_bytes=2 * GIB)}
    assert (
        "the gain holds: 0.50 (0.50 to 0.50) times the baseline's peak memory, was 0.50 in the search, "
        "where each ran once; at 1.00 (0.99 to 1.01) times the baseline's tokens/s"
    ) == verified(folder, now)


def test_memory_that_is_no_longer_saved_is_a_gain_that_is_gone_however_fast_it_is(tmp_path):
    folder = study(tmp_path, objective("memory"), BASELINE, SEARCHED[2])
    with pytest.raises(GainGone, match=r"trial 1 now needs more: 1\.25 .* peak memory"):
        verified(folder, {0: BASELINE, 1: measured(9000, peak_bytes=5 * GIB)})


@pytest.mark.parametrize(
    ("floor", "said"),
    [(None, r"below the floor now: at 0\.80"), (900.0, "the 900 tokens/s it is to give")],
)
def test_memory_that_is_saved_below_the_floor_is_no_gain(tmp_path, floor, said):
    after = objective("memory", throughput_floor=floor)
    folder = study(tmp_path, after, BASELINE, SEARCHED[2])
    with pytest.raises(GainGone, match=said):
        verified(folder, {0: BASELINE, 1: shaky(800, peak_bytes=2 * GIB)})


def test_a_floor_that_noise_hides_is_not_passed(tmp_path):
    folder = study(tmp_path, objective("memory"), BASELINE, SEARCHED[2])
    wild = {1: lambda number: measured(1000 * (1 + 0.3 * (-1) ** number), peak_bytes=2 * GIB)}
    with pytest.raises(GainGone, match="whether the floor is kept is not told from noise"):
        verified(folder, {0: BASELINE, **wild})


def test_a_cost_counts_the_ranks_that_are_paid(tmp_path):
    two = on_ranks(measured(3000), 2)
    folder = study(tmp_path, objective("cost"), BASELINE, two)
    said = verified(folder, {0: BASELINE, 1: two})
    assert "the gain holds: 1.50 (1.50 to 1.50) times the baseline's tokens/s for each rank" in said
    dear = on_ranks(measured(1800), 2)  # faster, and dearer
    with pytest.raises(GainGone, match=r"trial 1 is now the dearer one: 0\.90"):
        verified(folder, {0: BASELINE, 1: dear})


def test_the_fastest_of_a_front_keeps_its_memory(tmp_path):
    folder = study(tmp_path, objective("pareto"), BASELINE, SEARCHED[1], SEARCHED[3])
    said = verified(folder, {0: BASELINE, 1: SEARCHED[1]})
    assert "the gain holds: 2.00 (2.00 to 2.00) times the baseline's tokens/s" in said
    assert said.endswith("peak memory 8.00 GiB, was 8.00 GiB")
    with pytest.raises(GainGone, match=r"now needs more: peak memory 9\.00 GiB, was 8\.00 GiB"):
        verified(folder, {0: BASELINE, 1: measured(2000, peak_bytes=9 * GIB)})


def test_the_finals_say_what_the_gain_was(tmp_path):
    rounds = [{0: BASELINE, 1: SEARCHED[1], 2: SEARCHED[2]}] * 3
    folder = study(tmp_path, objective("memory"), BASELINE, SEARCHED[1], SEARCHED[2], rounds=rounds)
    said = verified(folder, {0: BASELINE, 2: SEARCHED[2]})
    assert "was 0.50 (0.50 to 0.50); at 1.10" in said


def test_the_winner_of_the_finals_stands_before_that_of_the_search(tmp_path):
    rounds = [{0: measured(1000 + number), 1: measured(900)} for number in range(3)]
    folder = study(tmp_path, objective("throughput"), BASELINE, SEARCHED[1], rounds=rounds)
    assert "the baseline itself (trial 0) won" in verified(folder, {})


def test_a_gain_is_told_with_its_interval_and_noise_is_none(tmp_path):
    folder = study(tmp_path, objective("throughput"), BASELINE, SEARCHED[1])
    said = verified(folder, {0: BASELINE, 1: lambda number: measured(1490 + 10 * (number % 3))})
    assert "the gain holds: 1.50 (1.48 to 1.53) times the baseline's tokens/s, was 2.00" in said
    with pytest.raises(GainGone, match=r"not told from noise: 1\.05"):
        verified(folder, {0: BASELINE, 1: lambda n: measured((1200, 1050, 920)[n % 3])})
    with pytest.raises(GainGone, match=r"trial 1 is now the slower one: 0\.50"):
        verified(folder, {0: BASELINE, 1: measured(500)})
    assert 5 == GainGone.exit_code


@pytest.mark.parametrize(
    ("now", "error", "said"),
    [
        ({0: BASELINE, 1: CRASHED}, GainGone, r"the winner \(trial 1\) failed, crashed in round 1"),
        ({0: CRASHED, 1: SEARCHED[1]}, EnvironmentUnfit, r"cannot be told: the baseline \(trial"),
        ({0: CRASHED, 1: CRASHED}, EnvironmentUnfit, "failed, and so did the winner: crashed"),
        (
            {0: BASELINE, 1: Unsupported(reason="no GDS")},
            EnvironmentUnfit,
            "cannot run here, .*GDS",
        ),
    ],
)
def test_who_fails_decides_whether_the_gain_is_gone_or_cannot_be_told(tmp_path, now, error, said):
    folder = study(tmp_path, objective("throughput"), BASELINE, SEARCHED[1])
    with pytest.raises(error, match=said):
        verified(folder, now)
    assert (5, 4) == (GainGone.exit_code, EnvironmentUnfit.exit_code)


def test_without_a_baseline_the_winner_has_to_run(tmp_path):
    folder = study(tmp_path, objective("throughput"), CRASHED, SEARCHED[1])
    assert "trial 1 still runs, with 2,000 tokens/s" in verified(folder, {1: SEARCHED[1]})
    with pytest.raises(GainGone, match="failed, crashed: a rank died; the baseline was crashed"):
        verified(folder, {1: CRASHED})


def test_what_has_changed_since_the_study_is_said_before_the_result(tmp_path, capsys):
    folder = study(tmp_path, objective("throughput"), BASELINE, SEARCHED[1])
    changed = {**HERE, "torch": "9.0", "host": "another"}
    verified(folder, {0: BASELINE, 1: SEARCHED[1]}, look=lambda accelerator: (MACHINE, changed))
    told = capsys.readouterr().out.splitlines()
    assert "since the study torch was 2.13.0, is 9.0" == told[-1]
    assert [] == environment_changes(HERE, {**HERE, "host": "another", "threads": 3})


def test_what_is_missing_here_is_no_gain_that_is_gone(tmp_path):
    folder = study(tmp_path, objective("throughput"), BASELINE, SEARCHED[1])

    def without_cuda(accelerator):
        raise EnvironmentUnfit(f"torch does not start on {accelerator}: no CUDA; type doctor")

    with pytest.raises(EnvironmentUnfit, match="was measured on a CPU; here torch does not start"):
        verified(folder, {}, look=without_cuda)
    assert not list(tmp_path.glob("verify-*"))


def test_a_machine_that_lacks_what_the_winner_needs_is_told_before_anything_is_run(tmp_path):
    folder = study(tmp_path, objective("throughput"), BASELINE)
    write_json(folder.trial(1).spec, plan(nano(), MACHINE).ready.to_json())
    winner = trial_of(1, SEARCHED[1], **{"precision.mode": "bf16"})
    write_json(folder.trial(1).trial, winner.to_json())
    without = Machine(cores=2, host_memory_bytes=16 * GIB, bf16=False, device_name="an old CPU")
    with pytest.raises(EnvironmentUnfit, match="trial 1 cannot run here: bf16 is not supported"):
        verified(folder, {}, look=lambda accelerator: (without, HERE))
