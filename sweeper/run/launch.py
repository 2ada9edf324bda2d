"""What every way of starting ranks needs: their environment, their devices, a free port."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper.core.spec import TrialSpec
from sweeper.places import extensions_dir, search_path
from sweeper.run.cuda_devices import ORDER, visible_devices

# glibc gives large blocks back to the kernel and faults them in again, step after step, more or less
# often as the heap happens to lie: 5 % of a step, and most of what one process differs from the next.
STEADY_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),  # the largest that it takes
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
}
STUDY_PID = "SWEEPER_STUDY_PID"  # a rank ends when this process is gone


def trial_environment(spec: TrialSpec) -> dict[str, str]:
    """What a trial needs beside the user's own environment."""
    # The op builders look for ninja on PATH; it is installed beside this interpreter.
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = {
        "DS_ACCELERATOR": spec.accelerator,
        "TORCH_EXTENSIONS_DIR": str(extensions_dir()),
        "PYTHONPATH": search_path(),
        "PATH": os.pathsep.join(filter(None, programs)),
    }
    if spec.accelerator == "cpu":
        environment["LOCAL_SIZE"] = str(spec.ranks)  # how many devices DeepSpeed takes the CPU for
        environment |= {n: os.environ.get(n, value) for n, value in STEADY_ALLOCATOR.items()}
    if spec.omp_threads or (spec.accelerator == "cpu" and "OMP_NUM_THREADS" not in os.environ):
        environment["OMP_NUM_THREADS"] = str(threads_for_each_rank(spec))
    if spec.accelerator == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(device_ids(spec.ranks))
        environment |= {n: os.environ.get(n, value) for n, value in ORDER.items()}
    if spec.cuda_allocator is not None:
        environment["PYTORCH_CUDA_ALLOC_CONF"] = spec.cuda_allocator
    return environment


def threads_for_each_rank(spec: TrialSpec) -> int:
    """As asked, else as the shell says, else an equal share of the cores that this process may use."""
    if spec.omp_threads:
        return spec.omp_threads
    if (typed := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(typed):
        return int(typed)
    return max(1, len(os.sched_getaffinity(0)) // spec.ranks)


def rank_environment(spec: TrialSpec, rank: int, port: int) -> dict[str, str]:
    """What torch.distributed reads, where no launcher sets it; one node."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(spec.ranks),
        "LOCAL_SIZE": str(spec.ranks),
        "LOCAL_WORLD_SIZE": str(spec.ranks),
        "CROSS_RANK": "0",
        "CROSS_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def device_ids(ranks: int) -> list[str]:
    """The first of the CUDA devices that this process may see, one for each rank, as CUDA_VISIBLE_DEVICES names them.

    By index, whatever the user calls them: DeepSpeed's launcher takes nothing else. A part of a device has none.
    """
    ids = [device.id for device in visible_devices()]
    return (ids or [str(number) for number in range(ranks)])[:ranks]


def devices_of(accelerator: str, ranks: int) -> list[str]:
    """What a trial occupies: ``"cpu"``, or the ids of its CUDA devices."""
    return ["cpu"] if accelerator == "cpu" else device_ids(ranks)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pasteable(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A shell line that runs the command in the environment."""
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    return f"{settings} {shlex.join(command)}\n"
