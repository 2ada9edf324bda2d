"""What a trial leaves behind by itself, run through the real code of every runner: nothing of it survives."""

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from sweeper.core.outcome import Crashed, Measured, OutOfMemory, TimedOut
from sweeper.run import trial_run
from sweeper.run.shared_memory import SEGMENTS
from tests.faults.studies import NEW, start
from tests.faults.test_faults import made, trials  # noqa: F401  fixtures

pytestmark = pytest.mark.timeout(120)


def noted(folder, what):
    return [path.stem for path in Path(folder).rglob(f"*.{what}")]


def is_alive(process):
    try:
        return psutil.Process(int(process)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def check_nothing_is_left(folder, *, num_processes=1):
    processes = noted(folder, "pid")
    assert num_processes <= len(processes)
    assert [] == [process for process in processes if is_alive(process)]


@pytest.mark.parametrize(
    "behaviour",
    [
        "leaves-a-daemon",
        "leaves-a-daemon-without-environment",
        "leaves-a-daemon-that-forks-when-it-is-told-to-end",
    ],
)
def test_what_detaches_itself_is_gone_and_costs_no_result(trials, behaviour):  # noqa: F811
    assert isinstance(trials.run(behaviour), Measured)
    check_nothing_is_left(trials.folder.path)


def test_a_daemon_of_two_ranks_is_gone_for_each(trials):  # noqa: F811
    assert isinstance(trials.run("leaves-a-daemon", ranks=2), Measured)
    check_nothing_is_left(trials.folder.path, num_processes=2)


def test_a_daemon_of_a_rank_that_was_killed_is_gone(trials):  # noqa: F811
    assert isinstance(trials.run("rank-1-leaves-a-daemon-and-is-killed", ranks=2), Crashed)
    check_nothing_is_left(trials.folder.path)


def test_a_daemon_of_a_rank_that_hangs_is_gone(trials):  # noqa: F811
    trials.let_time_pass("build")
    outcome = trials.run("leaves-a-daemon-and-hangs", timeout_seconds=200.0, hang_seconds=500.0)
    assert isinstance(outcome, TimedOut)
    check_nothing_is_left(trials.folder.path)


def test_a_daemon_of_a_trial_that_is_interrupted_is_gone(trials):  # noqa: F811
    def interrupt(progress):
        if "build" == progress["phase"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trials.run("leaves-a-daemon-and-hangs", watch=interrupt)
    check_nothing_is_left(trials.folder.path)


def test_a_child_of_a_rank_that_dies_is_gone(trials):  # noqa: F811
    assert isinstance(trials.run("segfaults-beside-a-child"), Crashed)
    check_nothing_is_left(trials.folder.path)


def test_shared_memory_of_a_rank_that_dies_is_gone(trials):  # noqa: F811
    assert isinstance(trials.run("leaves-shared-memory-and-is-killed"), Crashed)
    (name,) = noted(trials.folder.path, "segment")
    assert not (SEGMENTS / name).exists()


def test_a_port_that_a_daemon_listens_on_is_free(trials):  # noqa: F811
    assert isinstance(trials.run("leaves-a-daemon-that-listens"), Measured)
    check_nothing_is_left(trials.folder.path)
    (port,) = noted(trials.folder.path, "port")
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", int(port)))


def test_the_lock_of_an_op_that_a_daemon_holds_is_gone(trials, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(trial_run, "extensions_dir", lambda: tmp_path / "ops")
    lock = tmp_path / "ops" / "cpu_adam" / "lock"
    lock.parent.mkdir(parents=True)
    monkeypatch.setenv("FAKE_LOCK", str(lock))
    assert isinstance(trials.run("leaves-a-daemon-that-holds-a-lock"), Measured)
    check_nothing_is_left(trials.folder.path)
    assert not lock.exists()


def test_a_rank_that_was_stopped_is_gone(trials):  # noqa: F811
    trials.let_time_pass("warm-up")
    outcome = trials.run("stops-itself", timeout_seconds=200.0, hang_seconds=500.0)
    assert isinstance(outcome, TimedOut)


def test_what_started_the_ranks_was_stopped_and_is_gone(trials, monkeypatch):  # noqa: F811
    monkeypatch.setattr("sweeper.run.processes.KEEPER_SECONDS", 8.0)
    monkeypatch.setattr("sweeper.run.warm.KEEPER_SECONDS", 8.0)
    trials.let_time_pass("build")
    outcome = trials.run("stops-what-started-it", timeout_seconds=200.0, hang_seconds=500.0)
    assert isinstance(outcome, TimedOut)
    assert "build" == outcome.phase


@pytest.mark.parametrize(
    "behaviour", ["prints-out-of-memory-and-exits", "aborts-with-the-allocators-words"]
)
def test_words_in_a_log_make_no_out_of_memory(trials, behaviour):  # noqa: F811
    outcome = trials.run(behaviour)
    assert isinstance(outcome, Crashed)
    assert "memory" in outcome.evidence or "bad_alloc" in outcome.evidence


def test_a_worker_that_aborts_at_its_limit_ran_out_of_memory(trials):  # noqa: F811
    outcome = trials.run("aborts-for-memory")
    assert isinstance(outcome, OutOfMemory)
    assert ("host", "warm-up") == (outcome.memory, outcome.phase)


@pytest.mark.parametrize(
    ("behaviour", "code"), [("rank-1-exits-with-0", "0"), ("rank-1-segfaults", "-11, SIGSEGV")]
)
def test_an_exit_code_is_that_of_the_rank_it_is_told_of(trials, behaviour, code):  # noqa: F811
    outcome = trials.run(behaviour, ranks=2)
    assert isinstance(outcome, Crashed)
    assert "rank 1 ended in phase warm-up without writing a result" in outcome.reason
    if trials.name == "warm":
        assert f"(exit code {code})" in outcome.reason
    else:
        assert "(the launcher's exit code " in outcome.reason


def test_ranks_that_are_never_started_are_not_waited_for_longer_than_a_trial(made):  # noqa: F811
    from multiprocessing import forkserver

    trials = made("warm")  # noqa: F811
    assert isinstance(trials.run("well"), Measured)
    stopped = forkserver._forkserver._forkserver_pid
    os.kill(stopped, signal.SIGSTOP)
    trials.folder.forget_results(1)
    trials.folder.progress(0).unlink()
    outcome = trials.run("well", hang_seconds=3.0)
    assert isinstance(outcome, TimedOut)
    assert "start" == outcome.phase
    assert "did not answer, was ended and is started anew" in outcome.reason
    assert not is_alive(stopped)
    assert isinstance(trials.run("well"), Measured)


def test_nothing_of_a_trial_survives_a_study_that_is_killed(tmp_path):
    process = start(tmp_path, *NEW, FAKE_BEHAVIOUR="leaves-a-daemon-and-hangs")
    while not noted(tmp_path, "pid"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while any(map(is_alive, noted(tmp_path, "pid"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)
