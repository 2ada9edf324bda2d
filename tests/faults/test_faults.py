"""A worker that misbehaves, run through the real code of every runner."""

import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Crashed, Measured, OutOfMemory, TimedOut
from sweeper.core.plan import plan
from sweeper.places import extensions_dir
from sweeper.run import trial_run
from sweeper.run.launchers import LauncherRunner, deepspeed_command, torchrun_command
from sweeper.run.ops import stale_locks
from sweeper.run.shared_memory import SEGMENTS, mapped
from sweeper.run.warm import WarmRunner
from tests.support import MACHINE, ROOT, nano

FAKE_WORKER = (str(Path(__file__).with_name("fake_worker.py")),)
RUNNERS = {
    "deepspeed": lambda: LauncherRunner(deepspeed_command, FAKE_WORKER),
    "torchrun": lambda: LauncherRunner(torchrun_command, FAKE_WORKER),
    "warm": lambda: WarmRunner(FAKE_WORKER),
}
pytestmark = pytest.mark.timeout(120)


class Trials:
    """Runs the fake worker under one runner, and looks for what is left afterwards."""

    def __init__(self, name, tmp_path, monkeypatch):
        self.name = name
        self.folder = TrialFolder(tmp_path / "a 'trial' folder")
        self._runner = RUNNERS[name]()
        self._monkeypatch = monkeypatch

    def run(self, behaviour, *, ranks=1, watch=None, **limits):
        self._monkeypatch.setenv("FAKE_BEHAVIOUR", behaviour)
        planned = plan(nano(**{"hardware.ranks": ranks}), MACHINE).ready
        spec = replace(planned, **{"timeout_seconds": 60.0, "hang_seconds": 60.0, **limits})
        try:
            return self._runner.run(spec, self.folder, watch)
        finally:
            assert [] == self.left_over()

    def let_time_pass(self, phase, seconds_per_look=10.0):
        """From when rank 0 is in that phase: a launcher may take its time to start it."""
        passed = 0.0

        def monotonic():
            nonlocal passed
            if (read_json(self.folder.progress(0)) or {}).get("phase") == phase:
                passed += seconds_per_look
            return time.monotonic() + passed

        clock = SimpleNamespace(monotonic=monotonic, sleep=time.sleep)
        self._monkeypatch.setattr(trial_run, "time", clock)

    def left_over(self):
        """Processes that know of the trial, and shared memory that was not there before."""
        found = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), process.environ().get("SWEEPER_TRIAL_MARK", "")]
                if process.pid != os.getpid() and any(str(self.folder.path) in w for w in words):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def made(tmp_path, monkeypatch):
    shared_memory = set(SEGMENTS.iterdir())
    yield lambda name: Trials(name, tmp_path, monkeypatch)
    # The fake worker makes none of DeepSpeed's: a study of somebody's may have begun meanwhile.
    theirs = ("pym-", "deepspeed_")
    new = [p for p in set(SEGMENTS.iterdir()) - shared_memory if not p.name.startswith(theirs)]
    assert set() == set(new) - mapped(new)
    assert [] == stale_locks(extensions_dir())
    for command in tmp_path.rglob("command.txt"):
        ports = re.findall(r"(?:--master_port=|127\.0\.0\.1:)(\d+)", command.read_text())
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", int(port)))


@pytest.fixture(params=["warm", "deepspeed", "torchrun"])
def every(request, made):
    """Every runner, in every run of the tests."""
    return made(request.param)


@pytest.fixture(
    params=[
        "warm",
        pytest.param("deepspeed", marks=pytest.mark.slow),
        pytest.param("torchrun", marks=pytest.mark.slow),
    ]
)
def trials(request, made):
    """Every runner too; the slow ones in `make test-faults`."""
    return made(request.param)


def test_two_ranks_that_behave_are_measured_and_leave_a_command_that_can_be_pasted(every):
    outcome = every.run("well", ranks=2)
    assert isinstance(outcome, Measured), outcome
    assert 1001 == outcome.measurement.peak_host_resident_bytes
    command = every.folder.command.read_text()
    assert "DS_ACCELERATOR=cpu" in command
    assert str(every.folder.spec.resolve()).replace("'", "'\"'\"'") in command


def test_an_exit_without_a_result_is_a_crash(every):
    outcome = every.run("no-result")
    assert isinstance(outcome, Crashed)
    assert "in phase warm-up without writing a result" in outcome.reason


def test_half_a_result_is_no_result(every):
    assert isinstance(every.run("half-a-result"), Crashed)


@pytest.mark.parametrize("behaviour", ["says-error-and-succeeds", "exits-1-after-its-result"])
def test_words_and_exit_codes_do_not_undo_a_result(trials, behaviour):
    assert isinstance(trials.run(behaviour), Measured)


def test_a_worker_that_is_not_done_in_time_has_timed_out_in_its_phase(every):
    every.let_time_pass("warm-up")
    outcome = every.run("sleeps", timeout_seconds=200.0, hang_seconds=500.0)
    assert isinstance(outcome, TimedOut)
    assert "warm-up" == outcome.phase


def test_a_worker_without_progress_hangs_and_is_not_waited_for_until_the_deadline(trials):
    trials.let_time_pass("warm-up")
    outcome = trials.run("hangs-silently", ranks=2, timeout_seconds=500.0, hang_seconds=200.0)
    assert isinstance(outcome, TimedOut)
    assert "hangs" in outcome.reason


def test_a_worker_that_stops_between_its_short_steps_is_not_waited_for_as_for_a_long_build(
    trials, monkeypatch
):
    monkeypatch.setattr(trial_run, "HANG_SECONDS_BETWEEN_STEPS", 3.0)
    started = time.monotonic()
    outcome = trials.run("hangs-between-steps", ranks=2, timeout_seconds=100.0, hang_seconds=100.0)
    assert isinstance(outcome, TimedOut)
    assert "hangs" in outcome.reason
    assert "measure" == outcome.phase
    assert time.monotonic() - started < 90  # of the 100 that it would be given before its steps


def test_a_worker_that_makes_progress_slowly_does_not_hang(trials):
    assert isinstance(trials.run("is-slow-but-alive", hang_seconds=7.0), Measured)


def test_a_worker_that_ignores_sigterm_is_gone_afterwards(every):
    every.let_time_pass("warm-up")
    outcome = every.run("sleeps-and-ignores-sigterm", timeout_seconds=200.0, hang_seconds=500.0)
    assert isinstance(outcome, TimedOut)
    assert "warm-up" == outcome.phase


def test_a_worker_that_is_killed_is_a_crash_in_its_phase(every):
    outcome = every.run("kills-itself", ranks=2)
    assert isinstance(outcome, Crashed)
    assert "warm-up" in outcome.reason


def test_one_rank_of_two_that_is_killed_is_the_one_that_is_named(trials):
    outcome = trials.run("rank-1-kills-itself", ranks=2)
    assert isinstance(outcome, Crashed)
    assert "rank 1 ended in phase warm-up" in outcome.reason


def test_a_segmentation_fault_is_a_crash(trials):
    assert isinstance(trials.run("segfaults"), Crashed)


@pytest.mark.parametrize(
    "behaviour", ["leaves-a-grandchild", "leaves-a-grandchild-that-ignores-sigterm"]
)
def test_a_grandchild_in_a_session_of_its_own_is_gone_afterwards(trials, behaviour):
    assert isinstance(trials.run(behaviour), Measured)
    pid = int((trials.folder.path / "grandchild.pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_worker_that_hangs_after_its_result_costs_no_result(trials, monkeypatch):
    monkeypatch.setattr(trial_run, "LINGER_SECONDS", 1.0)
    assert isinstance(trials.run("hangs-after-its-result"), Measured)


def test_an_oom_on_one_rank_beats_the_connection_error_of_the_other(every):
    outcome = every.run("oom-on-rank-1", ranks=2)
    assert isinstance(outcome, OutOfMemory)
    assert ("host", "build") == (outcome.memory, outcome.phase)


def test_a_rank_that_the_kernel_killed_for_memory_ran_out_of_it(trials, monkeypatch):
    kills = iter([3, 4])
    monkeypatch.setattr(trial_run, "_kernel_oom_kills", lambda: next(kills))
    outcome = trials.run("kills-itself")
    assert isinstance(outcome, OutOfMemory)
    assert "the kernel ran out of memory" in outcome.reason


def test_an_exception_is_a_crash_with_its_evidence(trials):
    outcome = trials.run("raises")
    assert isinstance(outcome, Crashed)
    assert "ValueError: bad" in outcome.reason
    assert "tb" == outcome.evidence


def test_the_rank_that_failed_first_is_named_not_the_one_that_lost_its_peer(trials):
    outcome = trials.run("raises-on-rank-1", ranks=2)
    assert isinstance(outcome, Crashed)
    assert "ValueError: the cause" in outcome.reason


def test_a_disk_that_is_too_full_for_the_result_is_a_crash_that_says_so(trials):
    outcome = trials.run("disk-is-full")
    assert isinstance(outcome, Crashed)
    assert "No space left on device" in outcome.evidence


def test_a_port_in_use_is_a_crash_that_says_so(trials):
    outcome = trials.run("port-in-use")
    assert isinstance(outcome, Crashed)
    assert "address already in use" in outcome.reason


def test_a_lock_left_by_a_killed_build_is_gone_before_the_trial(trials, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_run, "extensions_dir", lambda: tmp_path / "ops")
    lock = tmp_path / "ops" / "cpu_adam" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert isinstance(trials.run("well"), Measured)
    assert not lock.exists()


def test_an_interrupt_leaves_no_process(trials):
    def interrupt(progress):
        assert "warm-up" == progress["phase"]
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        trials.run("sleeps", watch=interrupt)
    assert time.monotonic() - started < 100  # it did not wait for the worker's 600 s


@pytest.mark.parametrize("name", ["deepspeed", "torchrun"])
def test_a_launcher_that_cannot_start_is_a_crash_that_says_so(tmp_path, monkeypatch, name):
    trials = Trials(name, tmp_path, monkeypatch)
    monkeypatch.setattr("sys.executable", "/no/such/python")
    outcome = trials.run("well")
    assert isinstance(outcome, Crashed)
    assert "the launcher cannot start" in outcome.reason


def test_a_rank_ends_by_itself_when_its_study_is_gone(tmp_path):
    study = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    rank = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from sweeper.worker.ending import end_with_the_study; import time;"
            "end_with_the_study(); print(flush=True); time.sleep(600)",
        ],
        env={**os.environ, "SWEEPER_STUDY_PID": str(study.pid), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    rank.stdout.readline()
    study.kill()
    study.wait()
    assert 143 == rank.wait(timeout=30)


def test_what_ranks_are_forked_from_is_deaf_to_ctrl_c(tmp_path):
    code = (
        "import os, signal, time\n"
        "from multiprocessing import forkserver\n"
        "from sweeper.run.warm import WarmRunner\n"
        "from sweeper.core.plan import plan\n"
        "from tests.support import MACHINE, nano\n"
        "WarmRunner().prepare(plan(nano(), MACHINE).ready)\n"
        "server = forkserver._forkserver._forkserver_pid\n"
        "time.sleep(0.3)  # it loads torch\n"
        "os.kill(server, signal.SIGINT)\n"
        "time.sleep(0.3)\n"
        "print(os.waitpid(server, os.WNOHANG)[0])\n"
        "masks = [l for l in open(f'/proc/{server}/status') if l.startswith('SigBlk')]\n"
        "print(int(masks[0].split()[1], 16) >> (signal.SIGINT - 1) & 1)\n"
        "print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert ["0", "1", "False"] == finished.stdout.split()
    assert "KeyboardInterrupt" not in finished.stderr
