"""Raw keys of DeepSpeed's (``ds.*``) that contradict a setting, or that DeepSpeed stops at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sweeper.core.ds_config import ds_config
from sweeper.core.ds_config_keys import keys_refused
from sweeper.core.ds_config_mistakes import broken_sections, broken_zero
from sweeper.core.resolved_config import KEYS_OF_SETTINGS
from sweeper.core.settings import Settings
from sweeper.errors import UsageError

_Path = tuple[str, ...]
_ZERO = "zero_optimization"
_STEPS = ("gradient_accumulation_steps",)
_PRECISION = "precision=fp32, or bf16, fp16, autocast_bf16"
_OFFLOAD = "offload=none, or optimizer, optimizer_and_params"
# What is typed for a key, with {} for its value.
_TYPED: Mapping[_Path, str] = {
    **{path: f"{name}={{}}" for name, path in KEYS_OF_SETTINGS.items()},
    ("train_batch_size",): "workload.global_batch_size={}",
    ("train_micro_batch_size_per_gpu",): "batch.micro_size={}",
    _STEPS: "batch.micro_size={}, from which it follows",
    ("gradient_clipping",): "optimizer.gradient_clipping={}",
    ("communication_data_type",): "comm.dtype={}",
    ("sequence_parallel_size",): "parallel.sequence={}",
    ("tensor_parallel", "autotp_size"): "parallel.tensor={}",
    ("compile", "deepcompile"): "compile=deepcompile, or none",
    ("optimizer", "type"): "optimizer.type={}",
    **{
        ("optimizer", "params", name): f"optimizer.{name}={{}}"
        for name in ("lr", "betas", "eps", "weight_decay")
    },
    **{
        (
            "optimizer",
            "params",
            name,
        ): "optimizer.implementation=fused, or foreach, plain, deepspeed"
        for name in ("torch_adam", "fused", "foreach")
    },
    (_ZERO, "stage"): "zero=stage{}",
    **{
        (_ZERO, section, name): typed
        for section in ("offload_optimizer", "offload_param")
        for name, typed in (
            ("device", _OFFLOAD),
            ("pin_memory", "offload.pin_memory={}"),
            ("nvme_path", "offload.nvme_path={}"),
        )
    },
    **{
        (section, "enabled"): _PRECISION
        for section in ("fp16", "bf16", "bfloat16", "torch_autocast")
    },
    ("torch_autocast", "dtype"): _PRECISION,
    ("fp16", "initial_scale_power"): "precision.fp16_initial_scale_power={}",
}
# What a configuration without the key means, where a setting decides that it is without.
_WITHOUT: Mapping[_Path, tuple[Any, ...]] = {
    ("sequence_parallel_size",): (None, 1),
    ("tensor_parallel", "autotp_size"): (None, 0, 1),
    ("compile", "deepcompile"): (None, False),
    (_ZERO, "offload_optimizer", "device"): (None, "none"),
    (_ZERO, "offload_param", "device"): (None, "none"),
    **{(name, "enabled"): (None, False) for name in ("fp16", "bf16", "torch_autocast")},
}
_INSTEAD = {
    _ZERO: "zero=stage1, or stage0, stage2, stage3",
    "bf16": _PRECISION,
    "fp16": _PRECISION,
}
_RENAMED = {"bfloat16": "bf16"}


def check_raw_keys(settings: Settings) -> None:
    """A trial of them would not be what its label says, or none. Raises UsageError for the first."""
    if not settings.ds:
        return
    for mistake in (*broken_sections(settings.ds), *broken_zero(settings.ds.get(_ZERO))):
        raise UsageError(f"ds.{mistake}")
    for mistake in keys_refused(settings.ds):
        raise UsageError(f"ds.{mistake}")
    ours = _of_settings(settings)
    for path, given in _leaves(settings.ds, ()):
        known = tuple(_RENAMED.get(name, name) for name in path)
        decided = _at(ours, known)
        if isinstance(
            decided, Mapping
        ):  # DeepSpeed takes some for an empty section, and ours is gone
            typed = _INSTEAD.get(path[0], "the keys in it one by one")
            raise UsageError(
                f"ds.{'.'.join(path)}={_plain(given)}: would take the place of all that the settings say "
                f"there; leave it out, and type {typed}"
            )
        allowed = _WITHOUT.get(known, ()) if decided is None else (decided,)
        if allowed and given not in allowed and known in _TYPED:
            now = decided if decided is not None else allowed[-1]
            value = _micro_size(settings, given) if known == _STEPS else _plain(given)
            raise UsageError(
                f"ds.{'.'.join(path)}={_plain(given)}: contradicts {_name(known)}, with which it is "
                f"{_plain(now)}; leave it out, and type {_TYPED[known].format(value)}"
            )


def _micro_size(settings: Settings, steps: Any) -> int:
    """That comes next to so many accumulation steps of the global batch."""
    samples = settings.workload.global_batch_size // max(settings.data_parallel, 1)
    wanted = samples // steps if isinstance(steps, int) and steps > 0 else 1
    return max(n for n in range(1, max(wanted, 1) + 1) if samples % n == 0)


def _of_settings(settings: Settings) -> Mapping[str, Any]:
    """The configuration that they make by themselves, its batch whole."""
    samples = settings.batch.micro_size * max(settings.data_parallel, 1)
    steps = settings.workload.global_batch_size // samples
    ours = ds_config(replace(settings, ds={}), accumulation_steps=steps)
    return {**ours, "train_batch_size": settings.workload.global_batch_size}


def _leaves(raw: Mapping[str, Any], above: _Path) -> Iterator[tuple[_Path, Any]]:
    for name, value in raw.items():
        path = (*above, str(name))
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path, value


def _at(config: Any, path: _Path) -> Any:
    for name in path:
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _name(path: _Path) -> str:
    """Of the setting, or its group, that decides it."""
    if path == _STEPS:
        return "workload.global_batch_size and batch.micro_size"
    return _TYPED[path].partition("=")[0]


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    return str(value)
