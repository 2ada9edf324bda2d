"""A study owns its folder: one process at a time writes into it, and others are told which."""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sweeper.core.files import make_folder
from sweeper.core.folder import StudyFolder
from sweeper.errors import StudyGone, UsageError
from sweeper.run.this_machine import boot_id, host

LOOK_EVERY_SECONDS = 1.0  # whether the folder is still there
BEAT_SECONDS = 10.0  # how often the lock is touched, where the kernel's own may not reach
STALE_SECONDS = 60.0  # a lock of another machine that was not touched for so long is nobody's
# Somebody who only looks holds it for an instant.
_TRIES, _RETRY_SECONDS = 10, 0.1
_NAMES = 1000
_NUMBERED = re.compile(r"(.*-\d{8}-\d{6})(?:-(\d+))?")
_HALF_WRITTEN = re.compile(r"\..+\.(\d+)\.tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """``what`` it does there: study, verify, trial or grid."""

    what: str
    host: str
    boot: str
    pid: int
    started: str
    token: str

    def __str__(self) -> str:
        return f"{self.what}, pid {self.pid} on {self.host}, since {self.started}"


def make_new(path: Path) -> tuple[Path, list[Path]]:
    """Makes the folder, or one with the next number behind its name where somebody was first.

    With all that was made, the folder itself first.
    """
    made = [parent for parent in path.parents if not parent.exists()]
    make_folder(path.parent)
    match = _NUMBERED.fullmatch(path.name)
    stem, first = (match[1], int(match[2] or 1)) if match else (path.name, 1)
    for number in range(first, first + _NAMES):
        named = path.with_name(stem if number == 1 else f"{stem}-{number}")
        try:
            named.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"{named}: no folder can be made there ({error.strerror or error}); type "
                "hydra.sweep.dir=<another folder>"
            ) from error
        return named, [named, *made]
    raise UsageError(f"{path}: taken, and so are the next {_NAMES} names; type another folder")


def holder_of(folder: StudyFolder) -> Holder | None:
    """Who writes into the folder at this moment; nothing is changed there."""
    try:
        file = os.open(folder.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        is_free = _flock(file, fcntl.LOCK_SH)
        return _holder(file, folder, is_free)
    finally:
        os.close(file)


def check_nobody_writes(folder: StudyFolder, typed: str) -> None:
    """Raises UsageError beside a live study; ``typed`` is what cannot be done meanwhile."""
    if (holder := holder_of(folder)) is not None:
        raise _told(folder, typed, holder)


class StudyLock:
    """Held from its making until ``release``, or the end of the process; no child of it inherits it."""

    def __init__(
        self, folder: StudyFolder, *, what: str, typed: str, made: Sequence[Path] = ()
    ) -> None:
        """Raises UsageError where another process holds the folder.

        ``made`` are the folders that were made for this one, innermost first: they go again where nothing
        is put into them.
        """
        self.folder, self._what, self._typed = folder, what, typed
        self._made = list(made) or [
            p for p in (folder.path, *folder.path.parents) if not p.exists()
        ]
        self._one_at_a_time = threading.RLock()
        self._holder = Holder(
            what=what,
            host=host(),
            boot=boot_id(),
            pid=os.getpid(),
            started=time.strftime("%Y-%m-%d %H:%M:%S"),
            token=uuid.uuid4().hex,
        )
        self._file = self._make_and_take()
        self._place = _there(folder.path)
        self._lost: str | None = None
        self._released = threading.Event()
        _held.append(self)
        threading.Thread(target=self._watch, daemon=True).start()

    def _make_and_take(self) -> int:
        """Somebody else who made the folder may remove it again, empty as it is, before it is taken."""
        for _ in range(_TRIES):
            make_folder(self.folder.path)
            with contextlib.suppress(FileNotFoundError):
                return self._take()
        raise _told(self.folder, self._typed, None)

    def _take(self) -> int:
        path = self.folder.lock
        holder: Holder | None = None
        for _ in range(_TRIES):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            is_free = _flock(file, fcntl.LOCK_EX)
            # Its last holder may have removed it meanwhile.
            if is_free is not False and _there(path) != _identity(file):
                os.close(file)
                continue
            holder = _holder(file, self.folder, is_free)
            if holder is None:
                os.ftruncate(file, 0)
                os.pwrite(file, (json.dumps(_document(self._holder)) + "\n").encode(), 0)
                os.fsync(file)
                return file
            os.close(file)
            time.sleep(_RETRY_SECONDS)
        raise _told(self.folder, self._typed, holder)

    def why_lost(self) -> str | None:
        """Why the folder is not this process's any more, None while it is: looked for now."""
        with self._one_at_a_time:
            if self._lost is None and not self._released.is_set():
                self._lost = self._look()
            return self._lost

    def check(self) -> None:
        """Raises StudyGone."""
        if (why := self.why_lost()) is not None:
            raise StudyGone(why)

    def release(self) -> None:
        """The folder goes with it where it was made for this and is empty."""
        if self._released.is_set():
            return
        is_lost = self.why_lost() is not None
        with self._one_at_a_time:
            self._released.set()
            _held.remove(self)
            with contextlib.suppress(OSError):
                if not is_lost:
                    self.folder.lock.unlink()
                    for path in self._made:
                        path.rmdir()
            os.close(self._file)

    def _look(self) -> str | None:
        folder = self.folder.path
        try:
            place, lock = _there(folder), _there(self.folder.lock)
        except OSError:
            return None  # a file system that does not answer for a while
        if place != self._place:
            return f"{folder} is gone: it was removed or moved while the {self._what} ran"
        if lock == _identity(self._file):
            return None
        # Somebody took the lock away, not the folder.
        try:
            before, self._file = self._file, self._take()
        except (UsageError, OSError):
            return f"{folder} was taken by another process while the {self._what} ran"
        os.close(before)
        return None

    def _watch(self) -> None:
        beat = time.monotonic()
        while not self._released.wait(LOOK_EVERY_SECONDS):
            if self.why_lost() is None and time.monotonic() >= beat:
                beat = time.monotonic() + BEAT_SECONDS
                with self._one_at_a_time:
                    self._lost = None if self._released.is_set() else self._beat()
            if self._lost is not None and not self._released.is_set():
                # As if the user had ended it: whatever the main thread waits for.
                if callable(signal.getsignal(signal.SIGTERM)):
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                return

    def _beat(self) -> str | None:
        with contextlib.suppress(OSError):
            os.utime(self._file)
            # On another machine, which our lock did not reach, somebody began at the same moment.
            found = _read(self._file)
            if found is not None and found.token != self._holder.token:
                return f"{self.folder.path} was taken by another process ({found})"
        return None


@contextlib.contextmanager
def owned(
    folder: StudyFolder,
    *,
    what: str,
    typed: str,
    made: Sequence[Path] = (),
    epilogue: Callable[[], str] = lambda: "",
) -> Iterator[StudyLock]:
    """Holds the folder meanwhile. Raises UsageError where another process does, StudyGone where it vanishes,
    whatever else that led to; ``epilogue`` is said behind it.
    """
    lock = StudyLock(folder, what=what, typed=typed, made=made)
    try:
        _clear_half_written(folder)
        yield lock
    except BaseException as error:
        if (why := lock.why_lost()) is None:
            raise
        raise StudyGone("; ".join(filter(None, [why, epilogue()]))) from error
    finally:
        lock.release()


def own_until_the_end(
    folder: StudyFolder, *, what: str, typed: str, made: Sequence[Path] = ()
) -> None:
    """As ``owned``, for as long as this process lives."""
    lock = StudyLock(folder, what=what, typed=typed, made=made)
    atexit.register(lock.release)


def check_owned() -> None:
    """Raises StudyGone where a folder that this process holds is gone, before anything remakes it."""
    for lock in _held:
        lock.check()


def why_gone() -> str | None:
    """Of a folder that this process holds and that is gone."""
    return next((why for lock in _held if (why := lock.why_lost())), None)


_held: list[StudyLock] = []


def _flock(file: int, how: int) -> bool | None:
    """Whether nobody has it on the machines that such a lock reaches; None where there are no locks."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _holder(file: int, folder: StudyFolder, is_free: bool | None) -> Holder | None:
    """None where there is none, or none any more; ``is_free`` is what the kernel's lock says."""
    found = _read(file)
    if is_free is False:
        return found or Holder(what="study", host=host(), boot="", pid=0, started="now", token="")
    if found is None:
        return None
    if found.boot == boot_id():
        return found if is_free is None and psutil.pid_exists(found.pid) else None
    # Another machine, or this one before it started anew.
    age = _now(folder) - os.fstat(file).st_mtime
    return found if age < STALE_SECONDS else None


def _now(folder: StudyFolder) -> float:
    """By the clock of who keeps the files: machines' own may differ."""
    scratch = folder.lock.with_name(f"{folder.lock.name}.{host()}.{os.getpid()}")
    try:
        with open(scratch, "w") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def _read(file: int) -> Holder | None:
    try:
        found = json.loads(os.pread(file, 4096, 0))
        return Holder(**{name: found[name] for name in Holder.__slots__})
    except (ValueError, KeyError, TypeError, OSError):
        return None


def _document(holder: Holder) -> dict[str, Any]:
    return {"schema_version": 1} | {name: getattr(holder, name) for name in Holder.__slots__}


def _told(folder: StudyFolder, typed: str, holder: Holder | None) -> UsageError:
    who = f" ({holder})" if holder is not None and holder.pid else ""
    return UsageError(
        f"{typed}: {folder.path} is in use{who}; let it end, or end it with kill -INT"
        f"{f' {holder.pid}' if holder is not None and holder.pid else ''} there"
    )


def _identity(place: Path | int) -> tuple[int, int]:
    found = os.stat(place)
    return found.st_dev, found.st_ino


def _there(place: Path) -> tuple[int, int] | None:
    """None where there is nothing. Raises OSError where that cannot be told."""
    try:
        return _identity(place)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            return None
        raise


def _clear_half_written(folder: StudyFolder) -> None:
    """What a process that was killed, or whose disk was full, has left of files that it was writing."""
    for place in (folder.path, folder.best, folder.figures):
        for path in place.glob(".*.tmp"):
            match = _HALF_WRITTEN.fullmatch(path.name)
            if match and not psutil.pid_exists(int(match[1])):
                path.unlink(missing_ok=True)
