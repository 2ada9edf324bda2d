"""What this machine has: a quick look without torch, and a thorough one in a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from sweeper.core.machine import Machine
from sweeper.errors import EnvironmentUnfit
from sweeper.places import import_root
from sweeper.run.cuda_devices import visible_devices
from sweeper.run.nvidia_smi import gpus

PROBE_TIMEOUT_SECONDS = 180


def accelerator() -> str:
    """``"cuda"`` where there is a device to be seen, else ``"cpu"``; ``DS_ACCELERATOR`` decides."""
    if named := os.environ.get("DS_ACCELERATOR"):
        return named
    return "cuda" if device_count() else "cpu"


def device_count() -> int:
    """CUDA devices that a trial would see; raises EnvironmentUnfit where the driver cannot tell."""
    return len(visible_devices())


def device_names() -> tuple[str, ...]:
    """Of all CUDA devices of the machine, as nvidia-smi has them."""
    return tuple(gpu.name for gpu in gpus())


def quick_look() -> Machine:
    """What can be known in milliseconds; the rest is None."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        host_memory_bytes=host_memory_bytes(),
        # Where it is there, whether it can be built with is found out by building.
        libaio=None if has_libaio() else False,
    )


def thorough_look(accelerator_name: str) -> tuple[Machine, Mapping[str, Any]]:
    """The machine as DeepSpeed sees it, and the environment's fingerprint; takes some seconds.

    Raises EnvironmentUnfit where torch or DeepSpeed cannot be imported.
    """
    found = ask_worker(accelerator_name)
    quick = quick_look()
    machine = Machine(
        cores=quick.cores, host_memory_bytes=quick.host_memory_bytes, **found["capabilities"]
    )
    return machine, found["environment"]


def ask_worker(
    accelerator_name: str,
    builders: Sequence[str] = (),
    *,
    timeout_seconds: float = PROBE_TIMEOUT_SECONDS,
) -> Mapping[str, Any]:
    """What ``sweeper.worker.machine`` tells, of DeepSpeed's op ``builders`` too.

    Raises EnvironmentUnfit where torch or DeepSpeed cannot be imported.
    """
    start = f"torch and DeepSpeed do not start on accelerator {accelerator_name}"
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        answer = Path(folder) / "machine.json"
        search_path = [str(import_root()), os.environ.get("PYTHONPATH", "")]
        try:
            child = subprocess.run(
                [sys.executable, "-m", "sweeper.worker.machine", str(answer), *builders],
                env={
                    **os.environ,
                    "DS_ACCELERATOR": accelerator_name,
                    "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
                },
                start_new_session=True,  # a Ctrl-C is the parent's to act on
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EnvironmentUnfit(
                f"{start} within {timeout_seconds:g} s; type python -m sweeper doctor"
            ) from None
        if child.returncode != 0:
            last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
            raise EnvironmentUnfit(
                f"{start}: {last[0]}; type make setup, or pip install the package again"
            )
        found: Mapping[str, Any] = json.loads(answer.read_text())
        return found


def has_libaio() -> bool:
    """Looked for where a linker looks, since asking one takes longer than this may."""
    folders = ("/usr/lib", "/usr/lib64", "/lib", "/usr/local/lib", f"{sys.prefix}/lib")
    more = os.environ.get("LIBRARY_PATH", "").split(os.pathsep)
    return any(
        next(Path(folder).glob(pattern), None) is not None
        for folder in (*folders, *filter(None, more))
        for pattern in ("libaio.*", "*/libaio.*")
    )


def host_memory_bytes() -> int:
    """The machine's memory, or what this process's control group may use of it."""
    total: int = psutil.virtual_memory().total
    for limit in (
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ):
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):
            continue
    return total


def available_bytes() -> int:
    """What may still be taken on the machine, and in this process's control group."""
    available: int = psutil.virtual_memory().available
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        current = int((group / "memory.current").read_text())
        file_cache = _statistics(group / "memory.stat").get("inactive_file", 0)
    except (OSError, ValueError):  # not in one, or it has no limit
        return available
    return min(available, limit - current + file_cache)


def _statistics(path: Path) -> Mapping[str, int]:
    return {name: int(value) for name, value in map(str.split, path.read_text().splitlines())}
