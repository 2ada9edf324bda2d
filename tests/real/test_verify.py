"""``verify`` with real trials: a true gain holds, a false one does not, and CI can tell by the exit code."""

import json

import pytest

from sweeper.core.contest_record import read_contest
from sweeper.core.files import write_json
from sweeper.core.finalists import Contest
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured, reason_of
from sweeper.core.plan import plan
from sweeper.run.finalists import measure_again, run_contest
from sweeper.run.ops import ensure_ops
from sweeper.terminal import Terminal
from tests.support import MACHINE, nano, run_sweeper, trial_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# All samples at once, or one after the other: several times slower on any machine.
FAST = {"batch.micro_size": 8}
SLOW = {"batch.micro_size": 1}
FORKED = {"launch.runner": "warm"}


def small(number, outcome=None, **changes):
    return trial_of(number, outcome, **FORKED, **changes)


@pytest.fixture(scope="module", autouse=True)
def built_ops():
    ensure_ops(["ShareMemCommBuilder"], accelerator="cpu", say=print)


def study(path, *candidates):
    """A study's folder with real trials of these settings, the first one the baseline."""
    folder = StudyFolder(path)
    for number, changes in enumerate(candidates):
        spec = plan(nano(**FORKED, **changes), MACHINE).ready
        trial = measure_again(
            small(number, None, **changes), spec, folder.trial(number), Terminal()
        )
        assert isinstance(trial.outcome, Measured), reason_of(trial.outcome)
    return folder


def claim_that(folder, winner):
    """As if the search had seen this trial reach ten times what it reaches."""
    path = folder.trial(winner).trial
    document = json.loads(path.read_text())
    m = document["outcome"]["measurement"]
    m["step_seconds"] = [seconds / 1000 for seconds in m["step_seconds"]]
    write_json(path, document)


def test_a_gain_that_is_there_holds_and_is_written_down(tmp_path):
    folder = study(tmp_path / "a study", SLOW, FAST)
    finished = run_sweeper("verify", "a study", cwd=tmp_path, timeout=200)
    assert 0 == finished.returncode, finished.stdout + finished.stderr
    assert "the gain holds: " in finished.stdout
    assert "in the search, where each ran once" in finished.stdout
    (summary,) = folder.path.glob("verify-*.json")
    told = json.loads(summary.read_text())
    assert 1 == told["winner"]
    assert told["gain"]["low"] > 1
    rounds = folder.verification(summary.stem.partition("-")[2]).read_rounds()
    assert 3 <= len(rounds) <= 6
    assert all({0, 1} == set(found) for found in rounds)
    assert 2 == len(folder.read_trials())  # the study's own trials are as they were


def test_a_gain_that_is_not_there_ends_with_exit_code_5(tmp_path):
    folder = study(tmp_path / "mine", FAST, SLOW)
    claim_that(folder, 1)
    finished = run_sweeper("verify", "mine", cwd=tmp_path, timeout=200)
    assert 5 == finished.returncode, finished.stdout + finished.stderr
    assert "the gain is gone" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_winner_that_no_longer_runs_has_no_gain(tmp_path):
    folder = study(tmp_path / "mine", SLOW, FAST)
    spec = json.loads(folder.trial(1).spec.read_text())
    write_json(folder.trial(1).spec, spec | {"memory_limit_bytes": 2**20})
    finished = run_sweeper("verify", "mine", cwd=tmp_path, timeout=200)
    assert 5 == finished.returncode, finished.stdout + finished.stderr
    assert "the gain is gone: the winner (trial 1) failed, out-of-memory" in finished.stderr


@pytest.mark.slow
def test_a_contest_goes_on_where_it_was_interrupted(tmp_path):
    folder = study(tmp_path, SLOW, FAST)
    contest = Contest(finalists=(1,), baseline=0, max_rounds=3)
    run_contest(contest, folder, rounds=folder.finalists, terminal=Terminal())
    kept = folder.finalists.trial(1, 0).trial.stat().st_mtime_ns
    folder.finalists.trial(3, 1).trial.unlink()
    result = run_contest(contest, folder, rounds=folder.finalists, terminal=Terminal())
    assert kept == folder.finalists.trial(1, 0).trial.stat().st_mtime_ns
    assert 3 == len(result.rounds)
    assert (contest, result) == read_contest(folder.finalists)
