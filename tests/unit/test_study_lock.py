import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweeper.core.folder import StudyFolder
from sweeper.errors import StudyGone, UsageError
from sweeper.run import study_lock
from sweeper.run.study_lock import (
    STALE_SECONDS,
    check_nobody_writes,
    check_owned,
    holder_of,
    make_new,
    owned,
)
from sweeper.run.this_machine import host
from tests.support import ROOT

HOLD = (
    "import sys, time; sys.path.insert(0, sys.argv[1])\n"
    "from pathlib import Path\n"
    "from sweeper.core.folder import StudyFolder\n"
    "from sweeper.run.study_lock import owned\n"
    "with owned(StudyFolder(Path(sys.argv[2])), what='study', typed='x'):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "results" / "mine")


@pytest.fixture
def other(folder):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "held\n" == process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def take(folder):
    return owned(folder, what="study", typed="resume=mine")


def left_by(folder, *, boot, age_seconds):
    """The lock of a process elsewhere, which the kernel here knows nothing of."""
    folder.path.mkdir(parents=True)
    holder = {"what": "study", "host": "node7", "boot": boot, "pid": 4711, "token": "t"}
    folder.lock.write_text(json.dumps({"schema_version": 1, "started": "today", **holder}))
    then = time.time() - age_seconds
    os.utime(folder.lock, (then, then))


def test_who_comes_second_is_told_who_holds_the_folder(folder, other):
    told = rf"resume=mine: .*mine is in use \(study, pid {other.pid} on {host()}, since .*\); let"
    with pytest.raises(UsageError, match=told), take(folder):
        pass
    with pytest.raises(UsageError, match=f"export mine: .*pid {other.pid} on"):
        check_nobody_writes(folder, "export mine")
    assert "study" == holder_of(folder).what
    assert holder_of(folder).pid == other.pid


def test_a_holder_that_was_killed_holds_nothing(folder, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert folder.lock.exists()
    assert holder_of(folder) is None
    with take(folder):
        assert os.getpid() == holder_of(folder).pid
    assert not folder.lock.exists()


def test_one_that_has_ended_leaves_no_lock(folder, other):
    folder.study.touch()
    other.communicate("")
    assert [folder.study] == list(folder.path.iterdir())


def test_a_child_of_the_holder_does_not_hold_on_to_the_lock(folder):
    with take(folder):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert holder_of(folder) is None
        with take(folder):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_lock_of_another_machine_counts_while_it_is_touched(folder):
    left_by(folder, boot="another", age_seconds=5)
    assert "node7" == holder_of(folder).host
    with pytest.raises(UsageError, match="pid 4711 on node7"), take(folder):
        pass
    assert "node7" in folder.lock.read_text()


def test_a_lock_of_another_machine_that_nobody_touches_is_taken_over(folder):
    left_by(folder, boot="another", age_seconds=STALE_SECONDS + 5)
    assert holder_of(folder) is None
    with take(folder):
        assert "node7" not in folder.lock.read_text()


def test_the_lock_is_touched_while_it_is_held(folder, monkeypatch):
    monkeypatch.setattr(study_lock, "LOOK_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(study_lock, "BEAT_SECONDS", 0.05)
    with take(folder):
        os.utime(folder.lock, (1, 1))
        deadline = time.monotonic() + 10
        while folder.lock.stat().st_mtime == 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_where_there_are_no_locks_the_holders_process_decides(folder, monkeypatch):
    monkeypatch.setattr(study_lock, "_flock", lambda file, how: None)
    left_by(folder, boot=study_lock.boot_id(), age_seconds=0)
    document = json.loads(folder.lock.read_text())
    folder.lock.write_text(json.dumps({**document, "pid": os.getppid()}))
    assert os.getppid() == holder_of(folder).pid
    folder.lock.write_text(json.dumps({**document, "pid": 2**22 + 1}))
    assert holder_of(folder) is None


def test_a_lock_that_somebody_removed_is_made_anew(folder):
    with take(folder) as lock:
        folder.lock.unlink()
        lock.check()
        assert os.getpid() == holder_of(folder).pid


@pytest.mark.parametrize("remade", [False, True])
def test_a_folder_that_vanished_is_noticed_whatever_is_made_in_its_place(folder, remade):
    def study():
        with take(folder):
            folder.path.rename(folder.path.with_name("moved"))
            if remade:
                folder.path.mkdir()
            with pytest.raises(StudyGone):
                check_owned()
            raise FileNotFoundError("what came of it")

    with pytest.raises(StudyGone, match="removed or moved while the study ran"):
        study()
    check_owned()


def test_a_folder_that_nothing_was_put_into_goes_again(tmp_path):
    placed, made = make_new(tmp_path / "results" / "gpt2-20261130-112306")
    with owned(StudyFolder(placed), what="study", typed="x", made=made):
        pass
    assert [] == list(tmp_path.iterdir())


def test_of_many_that_start_in_one_second_each_gets_a_name_of_its_own(tmp_path):
    wanted = tmp_path / "results" / "gpt2-20261130-112306"
    with ThreadPoolExecutor(8) as threads:
        placed = [path for path, _ in threads.map(make_new, [wanted] * 8)]
    names = {f"gpt2-20261130-112306-{n}" for n in range(2, 9)} | {wanted.name}
    assert names == {Path(path).name for path in placed}
    assert f"{wanted.name}-9" == make_new(tmp_path / "results" / f"{wanted.name}-3")[0].name
