"""A trial's processes: started so that they can be found, ended so that none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from sweeper.places import import_root

MARK = "SWEEPER_TRIAL_MARK"  # what is left of a trial whose study was killed is found by it
KEEPER = import_root() / "sweeper" / "worker" / "keeper.py"
TERMINATE_GRACE_SECONDS = 5.0
KILL_GRACE_SECONDS = 10.0
# A keeper takes its time to end all it keeps: what its own graces add up to, and a slow machine's share.
KEEPER_SECONDS = 30.0


class Processes(Protocol):
    """What a trial runs in."""

    @property
    def exit_code(self) -> int | None:
        """None while they run; negative: the signal that ended them."""

    @property
    def rank_exit_codes(self) -> Sequence[int | None]:
        """Of each rank by itself, None where it is not known; empty where a launcher has them."""

    @property
    def remark(self) -> str:
        """What went wrong with that which starts ranks, not with them; mostly nothing."""

    def wait(self, seconds: float) -> None:
        """So long, or less where one of them ends meanwhile and that is told without looking."""

    def end(self) -> list[int]:
        """Leaves nothing running; returns the ids of those stuck in the kernel. May be called twice."""


class Family:
    """The processes that a trial starts, and all that these start, where no keeper has ended them.

    ``roots`` gives those that are known; the others are found as their descendants, or by the mark
    in their environment.
    """

    def __init__(self, mark: str, roots: Callable[[], Sequence[psutil.Process]]) -> None:
        self._mark = mark
        self._roots = roots

    def end(self) -> list[int]:
        """SIGTERM to the roots' groups first: launchers pass it on to workers in sessions of their
        own, which SIGKILL would orphan. Then SIGKILL to whatever is still there.
        """
        alive = self.alive()
        if alive:
            for root in self._roots():
                _signal_group(root.pid, signal.SIGTERM)
            self._wait_until_gone(alive, TERMINATE_GRACE_SECONDS)
        deadline = time.monotonic() + KILL_GRACE_SECONDS
        while (left := self.alive()) and time.monotonic() < deadline:
            for process in left:
                _kill(process)
            self._wait_until_gone(left, 0.5)
        return [process.pid for process in self.alive()]

    def alive(self) -> list[psutil.Process]:
        """Those that run at this moment."""
        found: dict[int, psutil.Process] = {}
        for root in self._roots():
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [root, *root.children(recursive=True)]:
                    found[process.pid] = process
        for process in marked(self._mark):
            found.setdefault(process.pid, process)
        return [process for process in found.values() if is_running(process)]

    def _wait_until_gone(self, processes: Sequence[psutil.Process], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._roots()  # reaps those that are ours
            if not any(is_running(process) for process in processes):
                return
            time.sleep(0.02)


class ProcessGroup:
    """One command below a keeper, which ends everything that the command starts, when it ends or we do."""

    rank_exit_codes: Sequence[int | None] = ()
    remark = ""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdout: Path,
        stderr: Path,
        mark: str | None = None,
    ) -> None:
        mark = mark or new_mark()
        with open(stdout, "wb") as out, open(stderr, "wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), *command],
                env={**environment, MARK: mark},
                stdin=subprocess.PIPE,  # closed when this process ends, however it does
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._family = Family(mark, self._roots)

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)  # Popen's own wait would look a dozen times meanwhile

    def end(self) -> list[int]:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=KEEPER_SECONDS)
        return self._family.end()

    def _roots(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            return []
        try:
            return [psutil.Process(self._process.pid)]
        except psutil.NoSuchProcess:
            return []


def new_mark() -> str:
    """A mark that no other trial has."""
    return uuid.uuid4().hex


def marked(mark: str) -> list[psutil.Process]:
    """All processes that were started with this mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def is_running(process: psutil.Process) -> bool:
    """False for what has ended, reaped or not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()
