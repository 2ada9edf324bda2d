"""Whether the engine that trains is the one that a trial's label tells of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.core.spec import TrialSpec

# What DeepSpeed puts before the name of an optimizer, by where and how it runs.
_PREFIXES = ("deepspeedcpu", "zenflowcpu", "fused")


def expected_of(spec: TrialSpec) -> dict[str, Any]:
    """What a trial's engine has to be, under the names of the settings that say it."""
    zero = spec.ds_config["zero_optimization"]
    stage = zero["stage"]
    return {
        "zero.stage": stage,
        "offload.optimizer": _device(zero, "offload_optimizer") if stage else "none",
        "offload.params": _device(zero, "offload_param") if stage == 3 else "none",
        "precision.mode": spec.precision,
        "batch.micro_size": spec.micro_size,
        "accumulation steps": spec.ds_config["gradient_accumulation_steps"],
        "data-parallel ranks": spec.data_parallel,
    }


def _device(zero: Mapping[str, Any], section: str) -> str:
    return str((zero.get(section) or {}).get("device") or "none")


def optimizer_family(name: str) -> str:
    """``"DeepSpeedCPUAdam"`` and ``"FusedAdam"`` are Adam; so is AdamW, of which either makes the other."""
    plain = name.lower()
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    if plain.startswith("muon"):
        return "muon"
    return "adam" if plain in ("adam", "adamw") else plain


def contradictions(expected: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Both sides of each, in words; what was not seen contradicts nothing."""
    return [
        f"{name} is {value} by its label and {seen[name]} at the engine"
        for name, value in expected.items()
        if name in seen and seen[name] is not None and seen[name] != value
    ]
