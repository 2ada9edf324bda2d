"""A trial's configuration made whole for frameworks, which read keys that DeepSpeed infers or forgives."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_MODES = {"bf16": "bf16", "fp16": "fp16", "torch_autocast": "autocast_bf16"}
_DEVICES = {"offload_optimizer": "offload.optimizer", "offload_param": "offload.params"}
# DeepSpeed's older names, which it refuses beside the newer ones.
_OLDER_ZERO = (
    "cpu_offload",
    "cpu_offload_param",
    "cpu_offload_params",
    "cpu_offload_use_pin_memory",
    "stage3_gather_fp16_weights_on_model_save",
)


def section(config: Any, *names: str) -> Mapping[str, Any]:
    """What stands under ``names``; nothing where that is absent, null, true or otherwise no section."""
    for name in names:
        config = config.get(name) if isinstance(config, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def batch_sizes(settings: Mapping[str, Any], *, data_parallel: int | None = None) -> dict[str, int]:
    """DeepSpeed's three, of settings under their dotted names.

    ``data_parallel`` is how many ranks see different samples, where that is known better.
    """
    if data_parallel is None:
        degrees = ("parallel.tensor", "parallel.pipeline", "parallel.sequence")
        data_parallel = int(settings.get("hardware.ranks") or 1)
        for degree in degrees:
            data_parallel //= int(settings.get(degree) or 1)
    data_parallel = max(data_parallel, 1)
    micro_size = int(settings["batch.micro_size"])
    of_a_rank = int(settings["workload.global_batch_size"]) // data_parallel
    accumulation_steps = of_a_rank // micro_size or 1
    return {
        "train_batch_size": micro_size * accumulation_steps * data_parallel,
        "train_micro_batch_size_per_gpu": micro_size,
        "gradient_accumulation_steps": accumulation_steps,
    }


def whole_config(
    config: Mapping[str, Any], settings: Mapping[str, Any], *, data_parallel: int | None = None
) -> dict[str, Any]:
    """``config``, as a script may write it, with all that a framework asks of it said in one way.

    Batch sizes, stage, offload and precision are those of the trial's ``settings``. Sections are there or
    absent, never null; switches are true or false.
    """
    whole = {name: copy.deepcopy(value) for name, value in config.items() if value is not None}
    whole |= _of_the_engine(batch_sizes(settings, data_parallel=data_parallel), settings)
    for name in ("gradient_clipping", "optimizer", "scheduler"):
        wanted = int | float if name == "gradient_clipping" else Mapping
        if not isinstance(whole.get(name), wanted):
            whole.pop(name, None)
        elif name != "gradient_clipping" and not isinstance(whole[name].get("params"), Mapping):
            whole[name] = {**whole[name], "params": {}}
    whole["zero_optimization"] = _zero(config, settings)
    return _with_precision(whole, str(settings.get("precision.mode")))


def _of_the_engine(batch: dict[str, int], settings: Mapping[str, Any]) -> dict[str, int]:
    """Where a script puts micro-batches together beside DeepSpeed, its configuration counts the engine's alone."""
    engines = settings.get("script.engine_accumulation")
    if engines is None:
        return batch
    accumulation = batch["gradient_accumulation_steps"]
    return {
        **batch,
        "train_batch_size": batch["train_batch_size"] // accumulation * engines,
        "gradient_accumulation_steps": engines,
    }


def _zero(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    own = section(config, "zero_optimization")
    zero = {
        name: copy.deepcopy(value)
        for name, value in own.items()
        if value is not None and name not in (*_OLDER_ZERO, *_DEVICES)
    }
    zero = {"stage": int(settings.get("zero.stage") or 0), **_without_stage(zero)}
    for name, setting in _DEVICES.items():
        device = str(settings.get(setting) or "none")
        if device == "none":
            continue
        offload = {n: copy.deepcopy(v) for n, v in section(own, name).items() if v is not None}
        if not offload and is_on(own.get("cpu_offload_use_pin_memory")):
            offload["pin_memory"] = True
        zero[name] = {"device": device, **{n: v for n, v in offload.items() if n != "device"}}
    return zero


def _without_stage(zero: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in zero.items() if name != "stage"}


def _with_precision(whole: dict[str, Any], mode: str) -> dict[str, Any]:
    """In a mode that settings cannot name (amp, autocast in fp16) the sections stay as they are."""
    if "bfloat16" in whole:
        whole["bf16"] = {**section(whole, "bfloat16"), **section(whole, "bf16")}
        del whole["bfloat16"]
    for name in ("bf16", "fp16", "torch_autocast", "amp"):
        if name in whole and not isinstance(whole[name], Mapping):
            del whole[name]
    if mode not in ("fp32", *_MODES.values()):
        return whole
    if mode == "fp32" and _is_of_no_mode(whole):
        return whole
    for name, its_mode in _MODES.items():
        if mode == its_mode:
            whole[name] = {**whole.get(name, {}), "enabled": True}
        elif name in whole:
            whole[name] = {**whole[name], "enabled": False}
    if mode == "autocast_bf16":
        whole["torch_autocast"].setdefault("dtype", "bfloat16")
    return whole


def _is_of_no_mode(config: Mapping[str, Any]) -> bool:
    autocast = section(config, "torch_autocast")
    in_fp16 = "bfloat16" not in str(autocast.get("dtype", "bfloat16"))
    return is_on(section(config, "amp").get("enabled")) or (
        is_on(autocast.get("enabled")) and in_fp16
    )


def is_on(value: Any) -> bool:
    """As DeepSpeed takes a switch that may be a word."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes", "on", "y", "t")
    return bool(value)
