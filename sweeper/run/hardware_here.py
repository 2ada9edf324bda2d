"""Whether the hardware that was chosen is that of this machine."""

from __future__ import annotations

import os

from sweeper.core.settings import Settings
from sweeper.errors import EnvironmentUnfit
from sweeper.run.machine import device_count, device_names


def check_hardware(settings: Settings) -> None:
    """Raises EnvironmentUnfit where a trial would look for devices that are not here."""
    chosen = settings.hardware
    # Who names DeepSpeed's accelerator may have devices that nvidia-smi knows nothing of: torch will tell.
    if chosen.accelerator != "cuda" or os.environ.get("DS_ACCELERATOR") == "cuda":
        return
    if device_count() == 0:
        raise EnvironmentUnfit(_line(chosen.device_name, "has no CUDA device", "hardware=cpu"))
    names = device_names()
    if chosen.device_name is not None and names and chosen.device_name not in names:
        here = f"has {', '.join(sorted(set(names)))}"
        raise EnvironmentUnfit(_line(chosen.device_name, here, "hardware=cuda"))


def _line(wanted: str | None, here: str, instead: str) -> str:
    asked = f"hardware.device_name={wanted}" if wanted else "hardware.accelerator=cuda"
    described = "" if wanted else " and hardware.device_memory=24GiB, or hardware=h100,"
    return (
        f"{asked}: this machine {here}; type {instead} for trials here, or python -m sweeper explain with "
        f"these options{described} for hardware that is not here"
    )
