"""Devices for one trial at a time: nobody else's in the way before, and given back after."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence

from sweeper.core.quantities import format_bytes
from sweeper.errors import EnvironmentUnfit
from sweeper.places import cache_dir
from sweeper.run.cuda_devices import visible_devices
from sweeper.run.nvidia_smi import query
from sweeper.run.this_machine import boot_id

# More than this on a device before the first trial is somebody's work, not the driver's.
BUSY_DEVICE_BYTES = 1 * 2**30
# Runnable processes for each core that make timings unsteady.
BUSY_LOAD = 0.5
# Of device memory, over what was used before, that a trial may seem to have left.
SLACK_BYTES = 256 * 2**20
DRAIN_SECONDS = 60.0

Say = Callable[[str], None]


@contextlib.contextmanager
def exclusive(devices: Sequence[str], say: Say) -> Iterator[None]:
    """Holds the devices (``"cpu"``, or CUDA ids) against other sweepers of this user on this machine.

    The kernel frees them when the holder dies. A home that machines share has a lock for each of them.
    """
    folder = cache_dir() / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for device in sorted(devices):  # in one order, so that two cannot wait for each other
            file = stack.enter_context(open(folder / f"{device}@{boot_id()}.lock", "w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another trial is running on {device}; waiting for it to end")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def what_disturbs(devices: Sequence[str]) -> list[str]:
    """What will make the numbers unsteady, in words; empty where the machine is quiet."""
    found = []
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > BUSY_LOAD * cores:
        found.append(
            f"the machine is busy: load {load:.1f} on {cores} cores; timings will be unsteady"
        )
    for device, used in device_memory_used(devices).items():
        if used > BUSY_DEVICE_BYTES:
            found.append(f"device {device} is in use: {format_bytes(used)} of its memory are taken")
    return found


def wait_until_drained(before: dict[str, int], say: Say, *, sleep: Callable[[float], None]) -> None:
    """Waits until the devices' used memory is back to what it was ``before`` a trial.

    Raises EnvironmentUnfit where it stays: what is measured on such a device is not the trial.
    """
    waited = 0.0
    while left := {
        device: used - before[device]
        for device, used in device_memory_used(list(before)).items()
        if used > before[device] + SLACK_BYTES
    }:
        taken = ", ".join(f"{format_bytes(n)} on device {device}" for device, n in left.items())
        if waited >= DRAIN_SECONDS:
            raise EnvironmentUnfit(
                f"device memory is not back {DRAIN_SECONDS:g} s after the trial: {taken}; find who "
                "holds it with nvidia-smi, end it, and go on with resume=results/<study>"
            )
        if waited == 0:
            say(f"waiting for device memory to come back: {taken}")
        sleep(1.0)
        waited += 1.0


def device_memory_used(devices: Sequence[str]) -> dict[str, int]:
    """Bytes in use on each CUDA device by its id, as the driver counts; nothing for the CPU.

    Of a part of a device (MIG) the driver tells here what is used of the whole.
    """
    watched = {device.id: str(device.gpu) for device in visible_devices() if device.id in devices}
    if not watched:
        return {}
    told = {row["index"]: row["memory.used"] for row in query(("index", "memory.used"))}
    return {
        device: int(used) * 2**20
        for device, gpu in watched.items()
        if (used := told.get(gpu)) is not None
    }
