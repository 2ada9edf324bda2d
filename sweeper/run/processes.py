"""A trial's processes: started in a group of their own, ended so that none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

MARK = "SWEEPER_TRIAL_MARK"  # inherited by every descendant, however it detaches itself
TERMINATE_GRACE_SECONDS = 5.0
KILL_GRACE_SECONDS = 10.0


class ProcessGroup:
    """A command and everything it starts. ``end()`` leaves nothing running; it may be called twice."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], stdout: Path, stderr: Path
    ) -> None:
        self._mark = uuid.uuid4().hex
        with open(stdout, "wb") as out, open(stderr, "wb") as err:
            self._process = subprocess.Popen(
                list(command),
                env={**environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while the command runs; negative: the signal that ended it."""
        return self._process.poll()

    def end(self) -> list[int]:
        """Ends all processes; returns the ids of those that could not be ended (none, but for a
        process stuck in the kernel).

        SIGTERM to the group first: launchers pass it on to workers that are in sessions of their
        own, and SIGKILL would orphan those. Then SIGKILL to whatever is still there.
        """
        descendants = self._alive()
        if descendants:
            _signal_group(self._process.pid, signal.SIGTERM)
            self._wait_until_gone(descendants, TERMINATE_GRACE_SECONDS)
        deadline = time.monotonic() + KILL_GRACE_SECONDS
        while (left := self._alive()) and time.monotonic() < deadline:
            for process in left:
                _kill(process)
            self._wait_until_gone(left, 0.5)
        return [process.pid for process in self._alive()]

    def _wait_until_gone(self, processes: Sequence[psutil.Process], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._process.poll()  # reaps the command itself
            if not any(_is_running(process) for process in processes):
                return
            time.sleep(0.05)

    def _alive(self) -> list[psutil.Process]:
        """Children of the command, and processes anywhere that carry the mark."""
        self._process.poll()
        found: dict[int, psutil.Process] = {}
        try:
            if self._process.returncode is None:
                command = psutil.Process(self._process.pid)
                for process in [command, *command.children(recursive=True)]:
                    found[process.pid] = process
        except psutil.NoSuchProcess:
            pass
        for process in psutil.process_iter():
            if process.pid not in found and self._is_marked(process):
                found[process.pid] = process
        return [process for process in found.values() if _is_running(process)]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self._mark
        except (psutil.Error, OSError):
            return False


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
