"""A script's own DeepSpeed configuration with a candidate's settings put in its place."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_PRECISION = ("bf16", "bfloat16", "fp16", "torch_autocast", "amp")
_OFFLOADS = ("offload_optimizer", "offload_param")
# What decides how the script trains stays the script's.
_THE_SCRIPTS = ("optimizer", "scheduler", "gradient_clipping")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigKnobs:
    """What a configuration says of the settings that a study turns; None where only its framework knows."""

    stage: int
    offload_optimizer: str
    offload_param: str
    nvme_path: str | None
    precision: str | None
    communication_dtype: str | None


def knobs_of(config: Mapping[str, Any]) -> ConfigKnobs:
    """Read off a complete configuration."""
    zero = _zero(config)
    paths = [_offload(zero, section).get("nvme_path") for section in _OFFLOADS]
    return ConfigKnobs(
        stage=int(zero.get("stage", 0)),
        offload_optimizer=_device(zero, "offload_optimizer"),
        offload_param=_device(zero, "offload_param"),
        nvme_path=next((str(path) for path in paths if path), None),
        precision=_precision(config),
        communication_dtype=config.get("communication_data_type"),
    )


def substituted(
    own: Mapping[str, Any], candidate: Mapping[str, Any], *, client_optimizer: bool = False
) -> dict[str, Any]:
    """``own`` where it says the same as ``candidate``, else what the candidate says.

    Optimizer, scheduler and clipping stay the script's; so does every key that no setting names. Doing it
    twice changes nothing. ``client_optimizer``: the script makes its optimizer itself.
    """
    config = copy.deepcopy(dict(own))
    batch = {name: candidate[name] for name in _BATCH if name in candidate}
    if any(config.get(name, value) != value for name, value in batch.items()):
        config.update(batch)
    zero = _with_candidates_zero(_zero(own), candidate["zero_optimization"])
    if zero != _zero(own) and (zero != {"stage": 0} or "zero_optimization" in own):
        config["zero_optimization"] = zero
        if client_optimizer:
            config.setdefault("zero_allow_untested_optimizer", True)
            if _device(zero, "offload_optimizer") != "none":
                config.setdefault("zero_force_ds_cpu_optimizer", False)
    _put_precision(config, candidate)
    for name, value in candidate.items():
        if name not in (*_BATCH, *_PRECISION, *_THE_SCRIPTS, "zero_optimization"):
            ours = config.get(name)
            both = isinstance(value, Mapping) and isinstance(ours, Mapping)
            config[name] = {**ours, **value} if both else value  # type: ignore[dict-item]
    return config


def _with_candidates_zero(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    zero = {**own, **{name: v for name, v in wanted.items() if name not in _OFFLOADS}}
    if "stage" not in own and wanted["stage"] == 0:
        del zero["stage"]  # what is left out means it
    for section in _OFFLOADS:
        device = _device(wanted, section)
        if device == _device(own, section):
            if device != "none":  # its own pinned memory stays
                more = {n: v for n, v in wanted[section].items() if n != "pin_memory"}
                zero[section] = {**own[section], **more}
        elif device == "none":
            del zero[section]
        else:
            zero[section] = dict(wanted[section])
    return zero


def _put_precision(config: dict[str, Any], candidate: Mapping[str, Any]) -> None:
    if _precision(config) != _precision(candidate):
        for name in _PRECISION:
            config.pop(name, None)
        config.update({name: candidate[name] for name in _PRECISION if name in candidate})
        return
    for name in _PRECISION:
        if name in candidate and not (name == "bf16" and "bfloat16" in config):
            more = {n: v for n, v in candidate[name].items() if n != "initial_scale_power"}
            config[name] = {**config.get(name, {}), **more}


def _precision(config: Mapping[str, Any]) -> str | None:
    """The mode as the settings name it."""
    enabled = {
        name: section.get("enabled", False)
        for name in _PRECISION
        if isinstance(section := config.get(name), Mapping)
    }
    if "auto" in enabled.values():
        return None
    for name, mode in (("bf16", "bf16"), ("bfloat16", "bf16"), ("fp16", "fp16")):
        if enabled.get(name):
            return mode
    if enabled.get("torch_autocast"):
        dtype = str(config["torch_autocast"].get("dtype", "bfloat16"))
        return "autocast_bf16" if "bfloat16" in dtype else None
    return None if enabled.get("amp") else "fp32"


def _zero(config: Mapping[str, Any]) -> Mapping[str, Any]:
    section = config.get("zero_optimization")
    return section if isinstance(section, Mapping) else {}


def _offload(zero: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    found = zero.get(section)
    return found if isinstance(found, Mapping) else {}


def _device(zero: Mapping[str, Any], section: str) -> str:
    return str(_offload(zero, section).get("device") or "none")
