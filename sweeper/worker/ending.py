"""Ends a rank that is told to end, or whose study is gone, whatever its main thread is in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from os import _exit  # a script's own is another, which takes it for the script's end
from pathlib import Path

LOOK_EVERY_SECONDS = 1.0
EXIT_ENDED = 143


def end_with_the_study() -> None:
    """Watches the process named by SWEEPER_STUDY_PID, where there is one: killed outright, it could not
    end its trial itself.
    """
    pid = int(os.environ.get("SWEEPER_STUDY_PID", "0"))
    if pid:
        threading.Thread(target=_watch, args=(pid,), daemon=True).start()


def end_when_told(result: Path, rank: int) -> None:
    """On SIGTERM writes that the rank was told to end, unless it has written a result, and ends.

    A launcher ends the ranks that are left when one fails: without this, one that was ended could not
    be told from the one that failed. A thread does it, since the main one may be waiting for a peer
    inside a library, where Python's signal handlers are not run.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_as_by_default)  # a child's signals are not this rank's
    threading.Thread(target=_end, args=(reader, result, rank), daemon=True).start()


def end_children() -> None:
    """What this rank has started and still runs: once the rank is gone, nobody finds what hides its environment."""
    with contextlib.suppress(ValueError):  # of a thread that is not the main one
        # A data loader's workers are told of as failures of the training when they end.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    import psutil  # ranks of a keeper know the standard library alone

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def flush() -> None:
    """A script may have closed what it wrote to, or taken it away."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _as_by_default() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(reader: int, result: Path, rank: int) -> None:
    while os.read(reader, 1) != bytes([signal.SIGTERM]):
        pass
    with contextlib.suppress(OSError):  # also where there is a result already: that one counts
        temporary = result.with_suffix(".ended")
        temporary.write_text(json.dumps({"kind": "ended", "rank": rank}))
        try:
            os.link(temporary, result)
        finally:
            temporary.unlink()
    _exit(EXIT_ENDED)


def _watch(pid: int) -> None:
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            end_children()  # a compiler of an op does not look who started it
            _exit(EXIT_ENDED)
        except PermissionError:
            return  # the number belongs to somebody else now: nothing to go by
        time.sleep(LOOK_EVERY_SECONDS)
