import os
import subprocess
import sys

import pytest

from sweeper.core import files
from sweeper.core.files import Damaged, read_text, seen_json, write_bytes, write_json, write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible
from sweeper.hydra_edge.resume import clear_unfinished, put_damaged_aside
from sweeper.report.build import build_report
from sweeper.run.leftovers import sweep_temporary
from sweeper.search.journal import numbers_in
from tests.recorded import full_study
from tests.support import ROOT, measured, trial_of


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path):
    folder = StudyFolder(tmp_path)
    write_json(folder.trial(0).trial, trial_of(0, measured()).to_json())
    write_json(folder.trial(1).pending, {"point": {}})
    number = dead_process()
    dead = [
        tmp_path / f".trials.csv.{number}.tmp",
        folder.trial(0).path / f".trial.json.{number}.tmp",
        folder.trial(0).path / "progress.rank0.tmp",
        tmp_path / f".report.md.{os.getpid()}.tmp",
    ]
    kept = [
        tmp_path / f".trials.csv.{os.getppid()}.tmp",
        folder.trial(1).path / f".spec.json.{number}.tmp",  # in flight, maybe on another host
        tmp_path / ".mine.tmp",
        tmp_path / "notes.12.tmp",
    ]
    for path in (*dead, *kept):
        path.write_text("half")
    assert sorted(dead) == sorted(sweep_temporary(folder))
    assert all(path.exists() for path in kept)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "x", b"x")
    assert [] == list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_put_aside(tmp_path):
    (tmp_path / "x" / "inside").mkdir(parents=True)
    write_text(tmp_path / "x", "caf\udce9")
    assert "caf\\udce9" == read_text(tmp_path / "x")
    assert (tmp_path / "x.put-aside" / "inside").is_dir()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b'{"a": 1, "b', "is half"),
        (b'{"a": [1,', "is half"),
        (b"\0\0\0", "is no JSON"),
        (b"null", "says null"),
        (b"\xff", "is not UTF-8"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, content, why):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert Damaged(path, why) == seen_json(path)


def test_a_damaged_trial_is_put_aside_and_keeps_its_point_and_number(tmp_path):
    folder = StudyFolder(tmp_path)
    for number in range(3):
        write_json(folder.trial(number).pending, {"point": {"zero.stage": str(number)}})
        write_json(folder.trial(number).trial, trial_of(number, measured()).to_json())
    write_json(folder.trial(3).trial, trial_of(3, Infeasible(rule="r", reason="r")).to_json())
    for number in (1, 3):
        folder.trial(number).trial.write_text("{")
    folder.trial(1).stderr.write_text("why")
    said = []
    assert clear_unfinished(folder) is None
    assert {1: {"zero.stage": "1"}} == put_damaged_aside(folder, said.append)
    assert "why" == (folder.put_aside / "0001" / "stderr.log").read_text()
    assert [0, 2] == [trial.number for trial in folder.read_trials()]
    assert "trial 1 is measured again" in said[0]
    assert "it may be tried anew" in said[1]


@pytest.mark.parametrize("damage", [None, 0, 100, 5000, b"\xff\xfe", b"{}\n"])
def test_a_damaged_journal_is_written_anew_by_report(tmp_path, damage):
    folder = full_study(tmp_path / "full")
    whole = numbers_in(folder.journal, "full")
    content = folder.journal.read_bytes()
    if damage is None:
        folder.journal.unlink()
    else:
        folder.journal.write_bytes(content[:damage] if isinstance(damage, int) else damage)
    assert "no notes" not in build_report(folder)
    assert whole == numbers_in(folder.journal, "full")
    assert set(range(22)) <= whole


def test_the_journal_of_a_study_that_is_live_is_left_to_it(tmp_path):
    folder = full_study(tmp_path / "full")
    folder.journal.write_bytes(b"{}\n")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sweeper.core.folder import StudyFolder\n"
        "from sweeper.run.study_lock import StudyLock\n"
        "lock = StudyLock(StudyFolder(Path(sys.argv[1])), what='study', typed='a study')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as live:
        assert b"held\n" == live.stdout.readline()
        build_report(folder)
        assert b"{}\n" == folder.journal.read_bytes()
        live.stdin.close()
    build_report(folder)
    assert set(range(22)) <= (numbers_in(folder.journal, "full") or set())
