"""What ``doctor`` says of the machine itself: devices, dtypes, memory, limits."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator

from sweeper.core.finding import Finding, failure, ok, warning
from sweeper.core.machine import Machine
from sweeper.core.quantities import format_bytes
from sweeper.run.exclusive import device_memory_used, what_disturbs
from sweeper.run.launch import devices_of
from sweeper.run.machine import available_bytes, host_memory_bytes
from sweeper.run.shared_memory import SEGMENTS

# Of the default study's gpt2, 124M parameters: weights, gradients and Adam's states in fp32 are 2 GiB,
# a trial's peak is 3.3 to 4.1 GiB (results/published/memory-trials.csv), and the study itself takes some.
LEAST_MEMORY_BYTES = 2 * 2**30
ENOUGH_MEMORY_BYTES = 6 * 2**30
# DeepSpeed's shared-memory communication takes 66 MiB for each rank.
SHARED_BYTES_OF_A_RANK = 66 * 2**20
ENOUGH_SHARED_BYTES = 1 * 2**30
ENOUGH_OPEN_FILES = 1024
# Offload to NVMe keeps its buffers locked, by the GiB; where that is refused DeepSpeed crashes.
ENOUGH_LOCKED_BYTES = 2**34


def device_findings(machine: Machine, accelerator: str) -> Iterator[Finding]:
    """What trials run on, and the dtypes it computes in."""
    many = f"{machine.devices} x " if machine.devices else ""
    cores = f"{machine.cores} cores"
    yield ok("devices", f"{many}{machine.device_name or accelerator}, {cores}")
    lacking = [name for name in ("bf16", "fp16") if not getattr(machine, name)]
    there = [name for name in ("fp32", "bf16", "fp16") if name not in lacking]
    if "bf16" in lacking:
        yield warning(
            "dtypes",
            f"{', '.join(there)}; not {', '.join(lacking)}, so such candidates are left out",
            f"type precision={'fp16' if 'fp16' in there else 'fp32'} with your study",
        )
    else:
        without = f"; not {', '.join(lacking)}" if lacking else ""
        yield ok("dtypes", f"{', '.join(there)}{without}")


def no_device() -> Finding:
    """Where trials are to run on CUDA, and nvidia-smi lists nothing that they would see."""
    return failure(
        "devices",
        "nvidia-smi lists no CUDA device that a trial would see",
        "type nvidia-smi -L; or unset CUDA_VISIBLE_DEVICES; or give hardware=cpu with your study",
    )


def memory_findings() -> Iterator[Finding]:
    """Free memory of the host, and what of it is shared memory."""
    yield host_memory(available_bytes(), host_memory_bytes())
    if SEGMENTS.is_dir():
        yield shared_memory(shutil.disk_usage(SEGMENTS).free)


def host_memory(free_bytes: int, total_bytes: int) -> Finding:
    """Of the machine, or of this process's control group."""
    found = f"{format_bytes(free_bytes)} free of {format_bytes(total_bytes)}"
    if free_bytes >= ENOUGH_MEMORY_BYTES:
        return ok("host memory", found)
    needs = "a trial of gpt2 takes up to 4 GiB"
    advice = "end what holds it (type ps aux --sort=-rss | head), or take a smaller model: type +model=gpt2-nano"
    say = failure if free_bytes < LEAST_MEMORY_BYTES else warning
    return say("host memory", f"{found}; {needs}", advice)


def shared_memory(free_bytes: int) -> Finding:
    """Of /dev/shm, in which ranks on the CPU meet, and NCCL's too."""
    found = f"{format_bytes(free_bytes)} free in {SEGMENTS}"
    if free_bytes >= ENOUGH_SHARED_BYTES:
        return ok("shared memory", found)
    needs = f"DeepSpeed on the CPU takes {format_bytes(SHARED_BYTES_OF_A_RANK)} a rank"
    advice = f"type mount -o remount,size=8G {SEGMENTS} (in a container: docker run --shm-size=8g)"
    say = failure if free_bytes < SHARED_BYTES_OF_A_RANK else warning
    return say("shared memory", f"{found}; {needs}", advice)


def device_memory_findings(machine: Machine) -> Iterator[Finding]:
    """Of each CUDA device."""
    if machine.device_memory_bytes is None:
        return
    used = device_memory_used(devices_of("cuda", machine.devices or 1))
    for device, used_bytes in used.items():
        yield device_memory(device, used_bytes, machine.device_memory_bytes)


def device_memory(device: str, used_bytes: int, total_bytes: int) -> Finding:
    """Of one device, whose memory a trial wants for itself."""
    name, free_bytes = f"device {device}", total_bytes - used_bytes
    found = f"{format_bytes(free_bytes)} free of {format_bytes(total_bytes)}"
    if used_bytes <= total_bytes // 10:
        return ok(name, found)
    advice = "type nvidia-smi to see who holds it, and end it; or choose another: type export CUDA_VISIBLE_DEVICES=<id>"
    say = failure if free_bytes < LEAST_MEMORY_BYTES else warning
    return say(name, f"{found}: someone works on it", advice)


def load_findings(accelerator: str) -> Iterator[Finding]:
    """Whether timings would be steady now."""
    busy = what_disturbs([accelerator] if accelerator == "cpu" else [])
    for found in busy:
        yield warning("load", found, "wait, or end what runs: type uptime, then top")
    if not busy:
        yield ok("load", f"{os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")


def limit_findings(*, locks_memory: bool) -> Iterator[Finding]:
    """``locks_memory``: what was asked about pins memory, NVMe and InfiniBand."""
    yield pinned_limit(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0], wanted=locks_memory)
    yield open_files_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def pinned_limit(limit_bytes: int, *, wanted: bool) -> Finding:
    """The memory that a process may lock (``ulimit -l``); CUDA's own pinned memory is not counted."""
    if limit_bytes == resource.RLIM_INFINITY or limit_bytes >= ENOUGH_LOCKED_BYTES:
        unlimited = limit_bytes == resource.RLIM_INFINITY
        return ok("pinned memory", "unlimited" if unlimited else format_bytes(limit_bytes))
    found = f"{format_bytes(limit_bytes)} a process (ulimit -l)"
    if not wanted:
        return ok("pinned memory", f"{found}; enough without NVMe and InfiniBand")
    return warning(
        "pinned memory",
        f"{found}; offload to NVMe locks its buffers, and crashes beyond it",
        "type ulimit -l unlimited; where that is refused, as root: "
        "echo '* - memlock unlimited' >> /etc/security/limits.conf, and log in again",
    )


def open_files_limit(limit: int) -> Finding:
    """Ranks, their libraries and data loaders open files by the hundred."""
    if limit == resource.RLIM_INFINITY or limit >= ENOUGH_OPEN_FILES:
        return ok("open files", "unlimited" if limit == resource.RLIM_INFINITY else f"{limit}")
    found = f"{limit} a process (ulimit -n); data loaders may run out"
    return warning("open files", found, "type ulimit -n 65536")
