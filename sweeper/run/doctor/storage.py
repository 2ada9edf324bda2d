"""What ``doctor`` says of disks: room where we write, and the speed of one for offload to NVMe."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from sweeper.core.finding import Finding, failure, ok, warning
from sweeper.core.quantities import format_bytes

# A study of thirty trials takes some MiB; compiled ops some tens.
LEAST_FREE_BYTES = 100 * 2**20
ENOUGH_FREE_BYTES = 2**30
BLOCK_BYTES = 8 * 2**20
MOST_BYTES = 512 * 2**20
MOST_SECONDS = 1.5  # each way
# The slowest NVMe drives read and write more; disks and network file systems do not.
NVME_BYTES_PER_SECOND = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Of one thread with one block under way; ``direct``: past the page cache, as DeepSpeed does it."""

    write_bytes_per_second: float
    read_bytes_per_second: float
    num_bytes: int
    direct: bool


def room_findings(name: str, path: Path) -> Iterator[Finding]:
    """Whether ``path`` can be written, and how much: a failure, since no study can do without."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    choose = "or change to another folder" if name == "studies" else "or choose another"
    by = "type cd <folder>" if name == "studies" else "type export SWEEPER_CACHE_DIR=<folder>"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield failure(name, f"{path} cannot be written: {error.strerror}", by)
        return
    free_bytes = shutil.disk_usage(there).free
    found = f"{format_bytes(free_bytes)} free in {path}"
    if free_bytes >= ENOUGH_FREE_BYTES:
        yield ok(name, found)
        return
    say = failure if free_bytes < LEAST_FREE_BYTES else warning
    yield say(name, found, f"free some space, {choose}: {by}")


def nvme_findings(path: Path) -> Iterator[Finding]:
    """The speed of the drive under ``path``, and what DeepSpeed could make of it."""
    if not path.is_dir():
        yield warning(
            "nvme", f"{path} is not a folder", f"mount the drive, or type mkdir -p {path}"
        )
        return
    try:
        speed = measure_speed(path)
    except OSError as error:
        yield warning(
            "nvme",
            f"{path} cannot be written and read: {error.strerror}",
            f"type ls -ld {path}; df -h {path}",
        )
        return
    yield nvme_speed(path, speed, shutil.disk_usage(path).free, file_system(path))


def nvme_speed(path: Path, speed: Speed, free_bytes: int, kind: str) -> Finding:
    """Judged as a place to offload to; ``kind`` of file system."""
    how = "past the page cache (O_DIRECT)" if speed.direct else "through the page cache"
    found = (
        f"{path} ({kind}): writes {speed.write_bytes_per_second / 1e9:.2f} GB/s, "
        f"reads {speed.read_bytes_per_second / 1e9:.2f} GB/s, by one thread, {how}, "
        f"{format_bytes(speed.num_bytes)} in blocks of {format_bytes(BLOCK_BYTES)}; "
        f"{format_bytes(free_bytes)} free"
    )
    another = "give a folder on an NVMe drive: type python -m sweeper doctor --nvme <folder>"
    if kind in ("tmpfs", "ramfs"):
        return warning("nvme", f"{found}; it is memory, no drive", another)
    if not speed.direct:
        refuses = "; it refuses O_DIRECT, with which DeepSpeed opens its files"
        return warning("nvme", found + refuses, another)
    if min(speed.write_bytes_per_second, speed.read_bytes_per_second) < NVME_BYTES_PER_SECOND:
        return warning("nvme", f"{found}; slower than NVMe drives are", another)
    return ok("nvme", found)


def file_system(path: Path) -> str:
    """``"ext4"``: of the mount that ``path`` lies on."""
    where = path.resolve()
    mounts = [m for m in psutil.disk_partitions(all=True) if where.is_relative_to(m.mountpoint)]
    return max(mounts, key=lambda m: len(m.mountpoint)).fstype if mounts else "unknown"


def measure_speed(folder: Path) -> Speed:
    """Writes and reads a file that has no name any more, so that nothing is left, however this ends."""
    descriptor, name = tempfile.mkstemp(prefix=".sweeper-doctor-", dir=folder)
    os.unlink(name)
    try:
        with mmap.mmap(-1, BLOCK_BYTES) as block:  # aligned to a page, as O_DIRECT wants it
            block.write(os.urandom(BLOCK_BYTES))
            direct = _goes_direct(descriptor, block)
            started = time.perf_counter()
            written = 0
            while written < MOST_BYTES and time.perf_counter() - started < MOST_SECONDS:
                written += os.pwrite(descriptor, block, written)
            os.fsync(descriptor)
            write_seconds = time.perf_counter() - started
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            started = time.perf_counter()
            done = 0
            while done < written and time.perf_counter() - started < MOST_SECONDS:
                done += os.preadv(descriptor, [block], done)
            read_seconds = time.perf_counter() - started
    finally:
        os.close(descriptor)
    return Speed(
        write_bytes_per_second=written / write_seconds,
        read_bytes_per_second=done / read_seconds,
        num_bytes=written,
        direct=direct,
    )


def _goes_direct(descriptor: int, block: mmap.mmap) -> bool:
    """Leaves O_DIRECT set where the file system takes it."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        os.pwrite(descriptor, block, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
        return False
    return True
