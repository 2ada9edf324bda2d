"""Starts what a trial runs in, and ends all that came of it: whatever detaches itself stays below this process.

A file of the standard library alone: launchers run under it as a program, before anything is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence

ASKED_GRACE_SECONDS = 5.0  # from SIGTERM to SIGKILL, for what was started
LEFT_GRACE_SECONDS = 2.0  # the same for what is left of those that have ended
KILL_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.02
_PR_SET_CHILD_SUBREAPER = 36
# It ends by itself when those it serves are gone, and removes the shared memory that they left.
_CLEANS_UP = b"multiprocessing.resource_tracker"


def keep(
    start: Callable[[], Sequence[int]],
    line: int,
    *,
    ended: Callable[[int, int], None] = lambda process, code: None,
) -> dict[int, int]:
    """Waits for the processes that ``start`` starts, each in a session of its own; their exit codes.

    None of their descendants is left afterwards. All are ended where the other end of ``line`` is
    closed, as it is when the study dies, and on SIGTERM. ``ended`` is called as each of them ends.
    """
    _adopt_orphans()
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    started = list(start())
    codes: dict[int, int] = {}

    def reap() -> None:
        for process, code in _reaped():
            if process in started:
                codes[process] = code
                ended(process, code)

    reap()
    while not asked and len(codes) < len(started):
        ready, _, _ = select.select([line, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
        if line in ready and not _is_open(line):
            asked = True
        reap()
    _end([process for process in started if process not in codes], reap)
    return codes


def as_before() -> None:
    """In a process forked by ``start``: its signals are not the keeper's."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _end(running: Sequence[int], reap: Callable[[], None]) -> None:
    """Launchers first: on SIGTERM they end their ranks in their own way. Then what is left of all."""
    if running:
        for process in running:
            _send(process, signal.SIGTERM, group=True)
        _wait_until(lambda: not set(running) & set(descendants()), ASKED_GRACE_SECONDS, reap)
    left = descendants()
    for process in left:
        _send(process, signal.SIGTERM)
    _wait_until(lambda: not descendants(), LEFT_GRACE_SECONDS, reap)
    deadline = time.monotonic() + KILL_SECONDS
    spared_until = time.monotonic() + LEFT_GRACE_SECONDS
    while (left := descendants()) and time.monotonic() < deadline:
        spares = time.monotonic() < spared_until
        for process in left:
            if not (spares and _CLEANS_UP in _command(process)):
                _send(process, signal.SIGKILL)
        _wait_until(lambda: not descendants(), 0.1, reap)


def _wait_until(holds: Callable[[], bool], seconds: float, reap: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while True:
        reap()
        if holds() or time.monotonic() > deadline:
            return
        time.sleep(_LOOK_EVERY_SECONDS)


def descendants() -> list[int]:
    """Those of this process that run at this moment."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (parent := _parent(name)):
            children.setdefault(parent, []).append(int(name))
    found, to_see = [], [os.getpid()]
    while to_see:
        below = children.get(to_see.pop(), [])
        found += below
        to_see += below
    return found


def _parent(process: str) -> int | None:
    """None of one that has ended, reaped or not."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in (b"Z", b"X") else int(parent)


def _command(process: int) -> bytes:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _reaped() -> list[tuple[int, int]]:
    found = []
    with contextlib.suppress(ChildProcessError):
        while (status := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((status[0], os.waitstatus_to_exitcode(status[1])))
    return found


def _send(process: int, number: int, *, group: bool = False) -> None:
    """One that has just been forked may not lead its group yet."""
    if group:
        try:
            os.killpg(process, number)
            return
        except (ProcessLookupError, PermissionError):
            pass
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _is_open(line: int) -> bool:
    """Nothing is said on it: what can be read is its end."""
    try:
        return bool(os.read(line, 1))
    except OSError:
        return False


def _adopt_orphans() -> None:
    """A process whose parent ends becomes a child of this one, not of the machine's first."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _run(command: Sequence[str]) -> int:
    process = os.fork()
    if process:
        return process
    try:
        as_before()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and what it runs would too
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvp(command[0], list(command))
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(127)


def _exit_as(code: int) -> None:
    """By the same signal, where it was one."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    # Its input is the line: held open by the study for as long as the command is wanted.
    (ended_with,) = keep(lambda: [_run(sys.argv[1:])], 0).values() or (1,)
    _exit_as(ended_with)
