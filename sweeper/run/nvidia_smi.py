"""What the NVIDIA driver says of its devices, by nvidia-smi: nothing here touches CUDA or NVML in this process."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import EnvironmentUnfit

# Where nobody keeps the driver awake (persistence mode) it starts each device anew, 1 to 3 s each.
TIMEOUT_SECONDS = 60.0
ON_THE_CPU = "type hardware=cpu to train on the CPU"
_NO_DEVICES = "No devices were found"
_GPU = re.compile(r"GPU (\d+): (.+) \(UUID: (GPU-\S+)\)")
_PART = re.compile(r"\s+MIG .+ \(UUID: (MIG-\S+)\)")
# Devices that are there and that nvidia-smi would not list, and what to call them.
_OTHERS = {
    "/dev/nvidiactl": "an NVIDIA device",
    "/dev/nvidia0": "an NVIDIA device",
    "/dev/dxg": "a device of Windows (WSL)",
    "/dev/kfd": "an AMD device (ROCm)",
    "/dev/davinci0": "an Ascend NPU",
    "/dev/hl0": "a Gaudi device",
}
_NVIDIA_S = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """``index`` is the driver's, by PCI bus; ``parts`` are the UUIDs of its MIG devices, where it is cut."""

    index: int
    name: str
    uuid: str
    parts: tuple[str, ...] = ()


def gpus() -> list[Gpu]:
    """In the driver's order; none where there is neither a driver nor a device.

    Raises EnvironmentUnfit where the driver does not answer or answers with an error, and where there is a
    device that it does not tell of.
    """
    lines = ask("-L")
    if lines is None:
        if (found := next((path for path in _OTHERS if Path(path).exists()), None)) is not None:
            raise EnvironmentUnfit(_unseen(found))
        return []
    listed: list[Gpu] = []
    for line in lines:
        if match := _GPU.match(line):
            listed.append(Gpu(index=int(match[1]), name=match[2], uuid=match[3]))
        elif listed and (match := _PART.match(line)):
            last = listed.pop()
            listed.append(
                Gpu(
                    index=last.index,
                    name=last.name,
                    uuid=last.uuid,
                    parts=(*last.parts, match[1]),
                )
            )
    return listed


def _unseen(path: str) -> str:
    there = f"there is {_OTHERS[path]} here ({path}), "
    if path in _NVIDIA_S:
        return (
            f"{there}but no nvidia-smi on PATH to tell of it; {ON_THE_CPU}, or make it be found (in a container:"
            " NVIDIA_DRIVER_CAPABILITIES=compute,utility; in WSL: /usr/lib/wsl/lib on PATH)"
        )
    return f"{there}which trials cannot use: cpu and cuda are supported; {ON_THE_CPU}"


def query(fields: Sequence[str], *, what: str = "gpu") -> list[Mapping[str, str | None]]:
    """Of each device (``what="compute-apps"``: of each process on one) what the driver tells; None for [N/A].

    Raises EnvironmentUnfit as ``gpus``.
    """
    lines = ask(f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits") or []
    rows = [[value.strip() for value in line.split(",")] for line in lines if line.strip()]
    return [
        {
            name: None if value.startswith("[") else value
            for name, value in zip(fields, row, strict=True)
        }
        for row in rows
        if len(row) == len(fields)
    ]


def ask(*arguments: str) -> list[str] | None:
    """What nvidia-smi prints, line by line; None where it is not there.

    Raises EnvironmentUnfit where the driver hangs, or answers with an error: with its words.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        said = subprocess.run(
            ["nvidia-smi", *arguments],
            start_new_session=True,  # a Ctrl-C is the parent's to act on
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentUnfit(
            f"nvidia-smi does not answer within {TIMEOUT_SECONDS:g} s: the driver hangs; restart the machine, or"
            f" {ON_THE_CPU}"
        ) from None
    lines = said.stdout.splitlines()
    if said.returncode == 0:
        return lines
    words = " ".join((said.stdout + " " + said.stderr).split())
    if words.startswith(_NO_DEVICES):
        return []
    raise EnvironmentUnfit(
        f"nvidia-smi fails ({words or f'exit code {said.returncode}'}): no device can be used so; {ON_THE_CPU}, or"
        " mend the driver (after an upgrade of it: restart the machine)"
    )
