"""What tells this machine, as it runs now, from all that share a file system with it."""

from __future__ import annotations

import functools
import platform
from pathlib import Path


@functools.cache
def host() -> str:
    """As people call it."""
    return platform.node() or "unknown host"


@functools.cache
def boot_id() -> str:
    """The kernel's own, new with each start: containers of one machine share it, and its devices."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or host()
    except OSError:
        return host()
