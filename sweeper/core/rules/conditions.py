"""What several rules ask of the settings."""

from __future__ import annotations

from typing import Any

from sweeper.core.settings import Settings


def value(settings: Settings, name: str) -> Any:
    """Of the setting ``name``, as in ``zero.stage``."""
    group, _, setting_name = name.partition(".")
    return getattr(getattr(settings, group), setting_name)


def cpu(settings: Settings) -> bool:
    """Whether the ranks compute on the host."""
    return settings.hardware.accelerator == "cpu"


def offloads(settings: Settings) -> bool:
    """Whether the optimizer's states live off the device."""
    return settings.offload.optimizer != "none"


def on_nvme(settings: Settings) -> bool:
    """Whether anything is offloaded to NVMe."""
    return "nvme" in (settings.offload.optimizer, settings.offload.params)
