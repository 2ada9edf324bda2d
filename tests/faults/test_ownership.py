"""Studies and commands that meet in one folder: every study is whole afterwards, and the second was told."""

import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeper.core.folder import StudyFolder
from tests.faults.studies import NEW, STUDY, check_whole, finish, start
from tests.support import apart, environment

pytestmark = pytest.mark.timeout(900)

UNNAMED = [argument for argument in NEW if not argument.startswith("hydra.sweep.dir")]
TRIALS = "hydra.sweeper.n_trials=3"
HELD = r"a study is in use \(study, pid {pid} on .+, since .+\); let it end"


@dataclass
class Pair:
    """Two processes, and what each has said once both have ended."""

    kind: str
    cwd: Path
    first: subprocess.Popen
    second: subprocess.Popen | None = None


def begin(kind, cwd):
    cwd.mkdir()
    if kind == "same name":
        both = [
            start(cwd, *UNNAMED, TRIALS, FAKE_SECOND="20261130-112306", FAKE_BEHAVIOUR="well")
            for _ in range(2)
        ]
        return Pair(kind, cwd, *both)
    behaviour = "well" if kind == "same folder" else "waits-at-third"
    first = start(cwd, *NEW, TRIALS, FAKE_BEHAVIOUR=behaviour)
    return Pair(
        kind,
        cwd,
        first,
        start(cwd, *NEW, TRIALS, FAKE_BEHAVIOUR="well") if behaviour == "well" else None,
    )


def join(pair):
    """Starts what is typed beside the live study, which waits in its third trial for the word to go on."""
    if pair.second is not None:
        return
    while not (pair.cwd / "third").exists():
        assert pair.first.poll() is None, pair.first.communicate()
        time.sleep(0.05)
    typed = {"resume": ["resume=a study"]}.get(pair.kind, [pair.kind, "a study"])
    pair.second = start(pair.cwd, *typed)


def check(pair):
    if pair.kind == "same name":
        _, said = zip(*(finish(process) for process in (pair.first, pair.second)), strict=True)
        folders = sorted((pair.cwd / "results").iterdir())
        assert ["gpt2-nano-20261130-112306", "gpt2-nano-20261130-112306-2"] == [
            folder.name for folder in folders
        ]
        for folder in folders:
            assert any(f"in results/{folder.name}\n" in text for text in said)
            check_whole(StudyFolder(folder), pair.cwd, num_run=3)
        return
    folder = StudyFolder(pair.cwd / "a study")
    if pair.kind == "report":
        _, err = finish(pair.second)
        assert "note: a study is still being written (study, pid" in err
    elif pair.kind == "same folder":
        codes = [process.wait(timeout=400) for process in (pair.first, pair.second)]
        assert [0, 2] == sorted(codes)
        if codes[0]:
            pair.first, pair.second = pair.second, pair.first
    if pair.kind != "report":
        _, err = finish(pair.second, code=2)
        (line,) = err.strip().splitlines()[-1:]
        assert re.search(HELD.format(pid=pair.first.pid), line), line
    (pair.cwd / "go").touch()
    finish(pair.first)
    check_whole(folder, pair.cwd, num_run=3)
    assert not folder.lock.exists()


KINDS = ["same name", "same folder", "resume", "verify", "report"]


@pytest.mark.parametrize("of_each", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_pairs_of_studies_that_start_at_once_are_whole_and_the_second_was_told(tmp_path, of_each):
    pairs = [
        begin(kind, tmp_path / f"{kind} {number}") for kind in KINDS for number in range(of_each)
    ]
    for pair in pairs:
        join(pair)
    for pair in pairs:
        check(pair)


@pytest.mark.slow
def test_an_export_beside_a_live_study_is_one_line(tmp_path):
    live = begin("export", tmp_path / "live")
    join(live)
    _, err = finish(live.second, code=2)
    assert re.fullmatch(f"sweeper: export a study: {HELD.format(pid=live.first.pid)}.*\n", err)
    live.first.kill()
    live.first.communicate()


def test_a_study_whose_folder_vanishes_ends_at_once_with_what_it_has(tmp_path):
    process = start(tmp_path, *NEW, FAKE_BEHAVIOUR="sleeps-at-third")
    while not (tmp_path / "third").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    shutil.rmtree(tmp_path / "a study")
    _, err = finish(process, code=4)
    (line,) = [line for line in err.splitlines() if line.startswith("sweeper:")]
    assert err.endswith(f"{line}\n")
    assert "a study is gone: it was removed or moved while the study ran" in line
    assert "the best of 2 trials was trial" in line
    assert not (tmp_path / "a study").exists()
    assert 3 == len((tmp_path / "runs.log").read_text().splitlines())


def test_one_trial_is_told_of_a_study_in_its_folder_and_gets_a_name_of_its_own(tmp_path):
    trial = ["+model=gpt2-nano", "workload.global_batch_size=16"]
    both = [start(tmp_path, *trial, FAKE_SECOND="20261130-112306") for _ in range(2)]
    for process in both:
        finish(process)
    folders = sorted((tmp_path / "results").iterdir())
    assert ["gpt2-nano-20261130-112306", "gpt2-nano-20261130-112306-2"] == [f.name for f in folders]
    for folder in folders:
        assert [0] == [t.number for t in StudyFolder(folder).read_trials()]


@pytest.mark.slow
def test_a_grid_does_not_run_into_a_study(tmp_path):
    grid = ["-m", "+model=gpt2-nano", "batch.micro_size=1,2", "hydra.sweep.dir='a study'"]
    live = start(tmp_path, *grid, FAKE_BEHAVIOUR="takes-its-time")
    folder = StudyFolder(tmp_path / "a study")
    while not folder.trial(0).spec.exists():
        assert live.poll() is None, live.communicate()
        time.sleep(0.05)
    _, err = finish(start(tmp_path, *NEW), code=2)
    assert f"a study is in use (grid, pid {live.pid} on" in err
    finish(live)
    assert [0, 1] == [trial.number for trial in folder.read_trials()]


@pytest.mark.slow
def test_a_study_that_was_killed_holds_nothing(tmp_path):
    process = start(tmp_path, *NEW, FAKE_BEHAVIOUR="sleeps-at-third")
    while not (tmp_path / "third").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    half = tmp_path / "a study" / f".trials.csv.{process.pid}.tmp"
    half.touch()
    finish(start(tmp_path, "resume=a study", TRIALS))
    check_whole(StudyFolder(tmp_path / "a study"), tmp_path, num_run=3)
    assert not half.exists()


@pytest.mark.slow
def test_what_could_not_start_leaves_no_folder(tmp_path):
    finished = subprocess.run(
        [*STUDY, *UNNAMED, "hydra.sweeper.warm_start=nothere"],
        cwd=tmp_path,
        env=environment(**apart(tmp_path)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 2 == finished.returncode
    assert not (tmp_path / "results").exists()
