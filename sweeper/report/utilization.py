"""Model FLOP utilisation, where the device's peak is known."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from sweeper.core.outcome import measurement_of
from sweeper.core.trial import Trial

_DTYPE = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16", "autocast_bf16": "bf16"}


def model_flops_utilization(trial: Trial) -> float | None:
    """MFU of one device (PaLM, appendix B); None for a device or dtype without a published peak."""
    measurement = measurement_of(trial.outcome)
    if measurement is None:
        return None
    tflops = measurement.tflops_per_device
    dtype = _DTYPE[str(trial.settings["precision.mode"])]
    if dtype == "fp32" and trial.environment.get("tf32"):  # containers may turn it on
        dtype = "tf32"
    peak = _peaks().get(str(trial.environment.get("device")), {}).get(dtype)
    return tflops / float(peak) if tflops is not None and peak is not None else None


@functools.cache
def _peaks() -> dict[str, dict[str, Any]]:
    document = json.loads(Path(__file__).with_name("device_peaks.json").read_text())
    return {device["name"]: device for device in document["devices"]}
