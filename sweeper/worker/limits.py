"""Holds a rank to its memory limit, and reads what it used at most."""

from __future__ import annotations

import resource
from pathlib import Path

_UNLIMITED = resource.RLIM_INFINITY


def limit_host_memory(limit_bytes: int) -> None:
    """From here on allocations that would take this process's memory past the limit fail.

    RLIMIT_DATA counts private writable memory; file-backed pages (the libraries' code) count as
    resident too, so they are taken off the limit first: what is resident stays below it.
    """
    file_bytes = _status_bytes("RssFile") or 0
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = max(limit_bytes - file_bytes, 1)
    resource.setrlimit(
        resource.RLIMIT_DATA, (wanted if hard == _UNLIMITED else min(wanted, hard), hard)
    )


def lift_memory_limit() -> bool:
    """Lets a rank that ran out of memory write down that it did; returns whether there was a limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    return soft != hard


def peak_resident_bytes() -> int:
    """The largest resident set of this process so far.

    VmHWM starts anew with the program; ``ru_maxrss`` would start at the launcher's at the fork.
    """
    peak = _status_bytes("VmHWM")
    return peak if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
