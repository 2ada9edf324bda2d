"""Studies that are ended at any instant, and go on."""

import json
import shlex
import signal
import time

import pytest

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible
from sweeper.run.study_record import study_document
from tests.faults.studies import NEW, check_whole, finish, start

pytestmark = pytest.mark.timeout(420)


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
    typed = err.rpartition("type ")[2].partition(" for a new study")[0]
    assert "hydra.sweeper.warm_start='a study'" == shlex.split(typed)[-1]
    assert 1 == len(err.strip().splitlines()[-1:])


def test_another_workload_is_refused_with_what_changed(ended):
    _, err = finish(start(ended, "resume=a study", "workload.sequence_length=16"), code=2)
    assert "workload.sequence_length was 32, is 16" in err


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_journal_that_ends_in_half_a_line_is_written_anew(tmp_path):
    finish(start(tmp_path, *NEW, "hydra.sweeper.n_trials=3"))
    folder = StudyFolder(tmp_path / "a study")
    text = folder.journal.read_text()
    folder.journal.write_text(text[: len(text) - 40])
    finish(start(tmp_path, "resume=a study", "hydra.sweeper.n_trials=5"))
    check_whole(folder, tmp_path, num_run=5)


@pytest.mark.slow
def test_damaged_trials_are_measured_again_in_their_own_places(tmp_path):
    """The baseline too; then study.yaml, which is written anew from what is typed again."""
    finish(start(tmp_path, *NEW, "hydra.sweeper.n_trials=4"))
    folder = StudyFolder(tmp_path / "a study")
    before = {trial.number: trial for trial in folder.read_trials()}
    measured = [n for n, trial in before.items() if not isinstance(trial.outcome, Infeasible)]
    lost = (0, measured[-1])
    for number in lost:
        folder.trial(number).trial.write_text('{"schema_version": 1, "num')
        folder.trial(number).spec.unlink()  # else the run that stands for it would be a violation
    (folder.path / ".trials.csv.4194305.tmp").write_text("half")
    _, err = finish(start(tmp_path, "resume=a study"))
    for number in lost:
        assert f"trial.json is half: trial {number} is measured again" in err
    after = {trial.number: trial for trial in folder.read_trials()}
    assert before.keys() == after.keys()
    assert all(before[n].point == after[n].point for n in lost)
    assert all(before[n] == after[n] for n in before if n not in lost)
    check_whole(folder, tmp_path, num_run=4)
    assert not list(folder.path.glob(".*.tmp"))

    folder.study.write_text("arguments: [")
    _, err = finish(start(tmp_path, "resume=a study"), code=2)
    assert "study.yaml is no YAML; type the command line that began the study" in err
    again = [*NEW, "hydra.sweeper.n_trials=5", "hydra.sweeper.resume=true"]
    _, err = finish(start(tmp_path, *again, "workload.sequence_length=16"), code=2)
    assert "workload.sequence_length was 32, is 16" in err
    finish(start(tmp_path, *again))
    check_whole(folder, tmp_path, num_run=5)
    assert "arguments" in study_document(folder)


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
