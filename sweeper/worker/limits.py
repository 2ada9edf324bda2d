"""Holds a rank to its memory limit, and reads what it used at most."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

_UNLIMITED = resource.RLIM_INFINITY

# File-backed pages (the libraries' code) that the process had which this one was forked from. A fork
# maps them again only when it touches them; a rank that starts by itself has them resident.
_inherited_file_bytes = 0
_not_touched_again_bytes: int | None = None


def remember_file_pages() -> None:
    """Called once in the process that ranks are forked from."""
    global _inherited_file_bytes
    _inherited_file_bytes = status_bytes("RssFile") or 0


def count_file_pages_from_here() -> None:
    """Called when the engine stands: what a fork touches from here on it had not inherited."""
    global _not_touched_again_bytes
    own = status_bytes("RssFile") or 0
    _not_touched_again_bytes = max(_inherited_file_bytes - own, 0)


def limit_host_memory(limit_bytes: int) -> None:
    """From here on allocations that would take this process's memory past the limit fail.

    RLIMIT_DATA counts private writable memory; file-backed pages (the libraries' code) count as
    resident too, so they are taken off the limit first: what is resident stays below it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = max(limit_bytes - _file_bytes(), 1)
    resource.setrlimit(
        resource.RLIMIT_DATA, (wanted if hard == _UNLIMITED else min(wanted, hard), hard)
    )


def limit_growth(room_bytes: int) -> None:
    """From here on allocations that would take so much more than there is now fail."""
    taken = status_bytes("VmData") or 0
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = taken + room_bytes
    resource.setrlimit(
        resource.RLIMIT_DATA, (wanted if hard == _UNLIMITED else min(wanted, hard), hard)
    )


def lift_memory_limit() -> bool:
    """Lets a rank that ran out of memory write down that it did; returns whether there was a limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    return soft != hard


def peak_resident_bytes() -> int:
    """The largest resident set since the start or the last reset, as of a rank started by itself.

    VmHWM starts anew with the program; ``ru_maxrss`` would start at the launcher's at the fork.
    """
    peak = status_bytes("VmHWM")
    if not peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak - (status_bytes("RssFile") or 0) + _file_bytes()


def reset_peak_resident() -> None:
    """Lets VmHWM start again at what is resident now; where that cannot be, it goes on rising."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def status_bytes(field: str) -> int | None:
    """A size from /proc/self/status; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def unmapped_file_bytes() -> int:
    """Of those pages, what a rank started by itself would have and this one has not touched."""
    return _file_bytes() - (status_bytes("RssFile") or 0)


def _file_bytes() -> int:
    """Resident file-backed pages, as of a rank started by itself."""
    own = status_bytes("RssFile") or 0
    if _not_touched_again_bytes is None:
        return max(own, _inherited_file_bytes)
    return own + _not_touched_again_bytes
