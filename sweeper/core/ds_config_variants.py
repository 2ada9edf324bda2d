"""A winner's DeepSpeed configuration in the variants that frameworks accept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from sweeper.core.whole_config import section

AUTO = "auto"
# Where there is no folder of the user's own to name; DeepSpeed's documentation calls it that.
NVME_PATH = "/local_nvme"
_BATCH_KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
# Sections in which a number is a count; a ratio is the exception.
_COUNTED = ("zero_optimization", "aio")
# What the Trainer fills in of its arguments, or holds against them.
_OF_THE_TRAINER = {
    "optimizer": ("lr", "betas", "eps", "weight_decay"),
    "scheduler": ("warmup_max_lr", "total_num_steps", "warmup_num_steps"),
}


def publishable(config: Mapping[str, Any], *, temporary: str) -> dict[str, Any]:
    """The native variant: what was measured, less what belongs to the measuring.

    ``temporary`` is the folder of temporary files: a path below it is nowhere else, and not here for long.
    """
    clean = {
        name: copy.deepcopy(value) for name, value in config.items() if not name.startswith("_")
    }
    for name in _BATCH_KEYS:
        if name in clean:
            clean[name] = _whole(clean[name])
    for name in _COUNTED:
        if isinstance(clean.get(name), Mapping):
            clean[name] = _with_whole_counts(clean[name])
    for device in ("offload_optimizer", "offload_param"):
        offload = section(clean, "zero_optimization", device)
        if f"{offload.get('nvme_path', '')}/".startswith(f"{temporary}/"):
            clean["zero_optimization"][device]["nvme_path"] = NVME_PATH
    return clean


def trainer_variant(config: Mapping[str, Any], *, keeps_optimizer: bool = False) -> dict[str, Any]:
    """For Hugging Face's Trainer: what its arguments say too is ``auto``, and nothing else is.

    A value would have to equal the argument; the sizes of ZeRO that may be ``auto`` were measured.
    ``config`` is whole, here and below. ``keeps_optimizer``: it is the file of a script that leaves
    optimizer and schedule to it.
    """
    variant = _for_a_framework(config, keeps_optimizer)
    for name in (*_BATCH_KEYS, "gradient_clipping"):
        variant[name] = AUTO
    for name in ("bf16", "fp16"):
        variant[name] = {**variant.get(name, {}), "enabled": AUTO}
    for name, parameters in _OF_THE_TRAINER.items():
        given = section(variant, name, "params")
        if given:
            filled = {key: AUTO for key in parameters if key in given}
            variant[name]["params"] = {**given, **filled}
    return variant


def accelerate_variant(
    config: Mapping[str, Any], *, keeps_optimizer: bool = False
) -> dict[str, Any]:
    """For Accelerate: all values, as it has no arguments of its own where they would be kept.

    Of a precision that is off it is said, too: ``Accelerator(mixed_precision=...)`` would switch it on.
    """
    variant = _for_a_framework(config, keeps_optimizer)
    off = {name: {"enabled": False} for name in ("bf16", "fp16") if name not in variant}
    return {**variant, **off}


def lightning_variant(
    config: Mapping[str, Any], *, keeps_optimizer: bool = False
) -> dict[str, Any]:
    """For Lightning, which refuses accumulation steps and takes them and the clipping from its Trainer."""
    elsewhere = ("train_batch_size", "gradient_accumulation_steps", "gradient_clipping")
    whole = _for_a_framework(config, keeps_optimizer)
    variant = {n: v for n, v in whole.items() if n not in elsewhere}
    return {**variant, "zero_allow_untested_optimizer": True}


def _for_a_framework(config: Mapping[str, Any], keeps_optimizer: bool) -> dict[str, Any]:
    """Optimizer and schedule are the user's there, and a checkpoint is wanted whole."""
    users = () if keeps_optimizer else ("optimizer", "scheduler")
    variant = {n: copy.deepcopy(v) for n, v in config.items() if n not in users}
    zero = variant.setdefault("zero_optimization", {"stage": 0})
    if zero.get("stage") == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return variant


def _with_whole_counts(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _with_whole_counts(value)
        if isinstance(value, Mapping)
        else value
        if name == "ratio"
        else _whole(value)
        for name, value in section.items()
    }


def _whole(value: Any) -> Any:
    """``5e8``, as a person types it, is no integer to every reader of JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
