"""A worker that misbehaves, run through the real launcher code."""

import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Crashed, Measured, OutOfMemory, TimedOut
from sweeper.core.plan import plan
from sweeper.run.deepspeed_runner import DeepSpeedRunner
from tests.support import MACHINE, nano

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(behaviour, *, ranks=1, timeout_seconds=60.0, folder="a 'trial' folder"):
        monkeypatch.setenv("FAKE_BEHAVIOUR", behaviour)
        planned = plan(nano(**{"hardware.ranks": ranks}), MACHINE).ready
        spec = replace(planned, timeout_seconds=timeout_seconds)
        outcome = DeepSpeedRunner(worker=(str(FAKE_WORKER),)).run(
            spec, TrialFolder(tmp_path / folder)
        )
        assert [] == left_over(tmp_path)
        return outcome

    return run


def left_over(tmp_path):
    """Processes that still know of the trial."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and str(tmp_path) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_two_ranks_that_behave_are_measured_and_leave_a_command_that_can_be_pasted(run, tmp_path):
    outcome = run("well", ranks=2)
    assert isinstance(outcome, Measured)
    assert 1001 == outcome.measurement.peak_host_resident_bytes
    command = (tmp_path / "a 'trial' folder" / "command.txt").read_text()
    assert "-m deepspeed.launcher.runner" in command
    assert "DS_ACCELERATOR=cpu" in command


def test_an_exit_without_a_result_is_a_crash(run):
    outcome = run("no-result")
    assert isinstance(outcome, Crashed)
    assert "in phase warm-up without writing a result" in outcome.reason


def test_half_a_result_is_no_result(run):
    assert isinstance(run("half-a-result"), Crashed)


@pytest.mark.parametrize("behaviour", ["says-error-and-succeeds", "exits-1-after-its-result"])
def test_words_and_exit_codes_do_not_undo_a_result(run, behaviour):
    assert isinstance(run(behaviour), Measured)


def test_a_worker_that_sleeps_for_ever_times_out(run):
    outcome = run("sleeps", timeout_seconds=8.0)
    assert isinstance(outcome, TimedOut)
    assert "warm-up" == outcome.phase


def test_a_worker_that_ignores_sigterm_is_gone_afterwards(run):
    assert isinstance(run("sleeps-and-ignores-sigterm", timeout_seconds=8.0), TimedOut)


def test_a_worker_that_is_killed_is_a_crash_in_its_phase(run):
    outcome = run("kills-itself", ranks=2)
    assert isinstance(outcome, Crashed)
    assert "warm-up" in outcome.reason


@pytest.mark.parametrize(
    "behaviour", ["leaves-a-grandchild", "leaves-a-grandchild-that-ignores-sigterm"]
)
def test_a_grandchild_in_a_session_of_its_own_is_gone_afterwards(run, tmp_path, behaviour):
    assert isinstance(run(behaviour), Measured)
    pid = int((tmp_path / "a 'trial' folder" / "grandchild.pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_worker_that_hangs_after_its_result_costs_no_result(run, monkeypatch):
    monkeypatch.setattr("sweeper.run.deepspeed_runner.LINGER_SECONDS", 1.0)
    assert isinstance(run("hangs-after-its-result"), Measured)


def test_an_oom_on_one_rank_beats_the_connection_error_of_the_other(run):
    outcome = run("oom-on-rank-1", ranks=2)
    assert isinstance(outcome, OutOfMemory)
    assert ("host", "build") == (outcome.memory, outcome.phase)


def test_a_worker_that_aborts_with_the_allocators_words_ran_out_of_memory(run):
    outcome = run("aborts-for-memory")
    assert isinstance(outcome, OutOfMemory)
    assert "host" == outcome.memory


def test_an_exception_is_a_crash_with_its_evidence(run):
    outcome = run("raises")
    assert isinstance(outcome, Crashed)
    assert "ValueError: bad" in outcome.reason
    assert "tb" == outcome.evidence


def test_a_launcher_that_cannot_start_is_a_crash_that_says_so(run, monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    outcome = run("well")
    assert isinstance(outcome, Crashed)
    assert "the launcher cannot start" in outcome.reason


def test_an_interrupt_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_BEHAVIOUR", "sleeps")
    started = time.monotonic()

    def interrupt(progress):
        assert "warm-up" == progress["phase"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DeepSpeedRunner(worker=(str(FAKE_WORKER),)).run(
            plan(nano(), MACHINE).ready, TrialFolder(tmp_path / "trial"), interrupt
        )
    assert time.monotonic() - started < 100  # it did not wait for the worker's 600 s
    assert [] == left_over(tmp_path)
