"""Studies that are ended at any instant, and go on."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible
from sweeper.search.optuna_study import load_study
from tests.support import environment

STUDY = [sys.executable, "-m", "tests.faults.study_with_fake_worker"]
NEW = [
    "+model=gpt2-nano",
    "hydra/sweeper=optuna",
    "workload.global_batch_size=16",
    "hydra.sweeper.finalists=0",
    "hydra.sweep.dir='a study'",
]
pytestmark = pytest.mark.timeout(420)


def start(cwd, *arguments, **more):
    return subprocess.Popen(
        [*STUDY, *arguments],
        cwd=cwd,
        env=environment(SWEEPER_CACHE_DIR=str(cwd / "cache"), **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, *, code=0):
    out, err = process.communicate(timeout=120)
    assert code == process.returncode, err[-3000:]
    return out, err


def check_whole(folder: StudyFolder, cwd: Path, *, num_run: int):
    """Every trial has one outcome, no work was done twice, and Optuna's record agrees."""
    trials = folder.read_trials()
    assert list(range(len(trials))) == [trial.number for trial in trials]
    assert len(trials) == len({trial.key for trial in trials})
    assert num_run == sum(not isinstance(t.outcome, Infeasible) for t in trials)
    assert "VIOLATION" not in (cwd / "runs.log").read_text()
    assert [] == folder.unfinished()
    recorded = load_study(None, folder.journal, folder.path.name)
    told = [t.user_attrs["trial"] for t in recorded.trials if "trial" in t.user_attrs]
    assert list(range(len(trials))) == sorted(told)
    assert not [t for t in recorded.trials if not t.state.is_finished()]


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_study_killed_at_random_moments_loses_nothing_and_repeats_nothing(tmp_path, kills):
    moments = random.Random(20)
    folder = StudyFolder(tmp_path / "a study")
    # Not the guide: it would see that the fake worker is always as fast, and end the study.
    endless = ["hydra/sweeper/sampler=tpe", "hydra.sweeper.n_trials=1000"]
    to_start = 0.0  # seconds: a slow machine gets longer ones
    for _ in range(kills):
        begun, now = folder.study.exists(), time.monotonic()
        process = start(tmp_path, *(["resume=a study"] if begun else [*NEW, *endless]))
        # Anywhere: in the imports or the start, or (mostly) while it plans, launches, runs, writes, tells.
        if moments.random() < 0.8:
            assert process.stderr.readline().startswith("study of"), process.communicate()
            to_start = time.monotonic() - now
        time.sleep(moments.uniform(0.0, max(3.0, to_start)))
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    num_run = sum(not isinstance(t.outcome, Infeasible) for t in folder.read_trials())
    assert num_run >= kills // 5  # there was something to lose
    finish(start(tmp_path, "resume=a study", f"hydra.sweeper.n_trials={num_run + 3}"))
    check_whole(folder, tmp_path, num_run=num_run + 3)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("ended")
    finish(start(cwd, *NEW, "hydra.sweeper.n_trials=4"))
    return cwd


def test_a_study_that_has_ended_goes_on_with_a_larger_budget(ended):
    finish(start(ended, "resume=a study", "hydra.sweeper.n_trials=6"))
    check_whole(StudyFolder(ended / "a study"), ended, num_run=6)


def test_a_study_measured_on_another_device_is_refused_and_a_new_one_offered(ended):
    _, err = finish(start(ended, "resume=a study", FAKE_DEVICE="another device"), code=2)
    assert "device was a fake device, is another device" in err
    assert "hydra.sweeper.warm_start=a study" in err
    assert 1 == len(err.strip().splitlines()[-1:])


def test_another_workload_is_refused_with_what_changed(ended):
    _, err = finish(start(ended, "resume=a study", "workload.sequence_length=16"), code=2)
    assert "workload.sequence_length was 32, is 16" in err


def test_a_new_study_learns_from_an_earlier_one_without_taking_its_results(ended, tmp_path):
    earlier = f"hydra.sweeper.warm_start='{ended / 'a study'}'"
    num_earlier = len(StudyFolder(ended / "a study").read_trials())
    said = f"learning from {num_earlier} trials of {ended / 'a study'}"
    _, err = finish(start(tmp_path, *NEW, "hydra.sweeper.n_trials=3", earlier))
    assert said in err
    check_whole(StudyFolder(tmp_path / "a study"), tmp_path, num_run=3)
    _, err = finish(start(tmp_path, "resume=a study", "hydra.sweeper.n_trials=5"))
    assert said in err  # also where it goes on
    check_whole(StudyFolder(tmp_path / "a study"), tmp_path, num_run=5)


def test_a_folder_without_a_study_cannot_be_resumed(tmp_path):
    _, err = finish(start(tmp_path, "resume=nowhere"), code=2)
    assert "resume=nowhere: there is no study in this folder" in err


def test_a_journal_that_ends_in_half_a_line_is_written_anew(tmp_path):
    finish(start(tmp_path, *NEW, "hydra.sweeper.n_trials=3"))
    folder = StudyFolder(tmp_path / "a study")
    text = folder.journal.read_text()
    folder.journal.write_text(text[: len(text) - 40])
    finish(start(tmp_path, "resume=a study", "hydra.sweeper.n_trials=5"))
    check_whole(folder, tmp_path, num_run=5)


def test_the_trial_in_flight_is_the_first_to_be_run_again(tmp_path):
    process = start(tmp_path, *NEW, "hydra.sweeper.n_trials=5", FAKE_BEHAVIOUR="sleeps-at-third")
    folder = StudyFolder(tmp_path / "a study")
    deadline = time.monotonic() + 60
    while not (tmp_path / "third").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (in_flight,) = folder.unfinished()
    document = json.loads(in_flight.pending.read_text())
    finish(start(tmp_path, "resume=a study"))
    again = next(t for t in folder.read_trials() if t.number == document["number"])
    assert document["point"] == again.point
    check_whole(folder, tmp_path, num_run=5)
