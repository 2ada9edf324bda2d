"""What of a configuration DeepSpeed stops at: the key, what was given, what is allowed and what to type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

BATCH_KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
# Sections that have to be objects, with one that is; a test holds them against the installed DeepSpeed.
OBJECTS: Mapping[str, str] = {
    "activation_checkpointing": '{"partition_activations": false}',
    "aio": '{"block_size": 1048576}',
    "autotuning": '{"enabled": false}',
    "bf16": '{"enabled": true}',
    "bfloat16": '{"enabled": true}',
    "checkpoint": "{}",
    "comet": '{"enabled": false}',
    "comms_logger": '{"enabled": false}',
    "compile": "{}",
    "csv_monitor": '{"enabled": false}',
    "data_efficiency": '{"enabled": false}',
    "data_types": '{"grad_accum_dtype": "fp32"}',
    "expert_parallel": "{}",
    "flops_profiler": '{"enabled": false}',
    "fp16": '{"enabled": true}',
    "hybrid_engine": '{"enabled": false}',
    "optimizer": '{"type": "AdamW", "params": {"lr": 0.001}}',
    "pipeline": "{}",
    "scheduler": '{"type": "WarmupLR", "params": {}}',
    "tensor_parallel": '{"autotp_size": 1}',
    "tensorboard": '{"enabled": false}',
    "timers": "{}",
    "torch_autocast": '{"enabled": true, "dtype": "bfloat16"}',
    "wandb": '{"enabled": false}',
    "weight_quantization": "{}",
    "zero_optimization": '{"stage": 1}',
}
NULL_IS_LEFT_OUT = ("aio", "bf16", "expert_parallel")
_PRECISION = "precision=fp32, or bf16, fp16, autocast_bf16"
_OFFLOAD = "offload=none, or optimizer"
# What is typed in the place of a section.
_INSTEAD = {
    "zero_optimization": "zero=stage1, or stage0, stage2, stage3",
    **dict.fromkeys(["bf16", "bfloat16", "fp16", "torch_autocast"], _PRECISION),
}
# What writes on the user's behalf: a trial has none of it.
OFF_IN_TRIALS = (
    "tensorboard",
    "wandb",
    "csv_monitor",
    "comet",
    "flops_profiler",
    "comms_logger",
    "autotuning",
)
_LONGEST_SHOWN = 60


def mistakes(config: Any) -> list[str]:
    """Each a clause that begins with the key; none where DeepSpeed takes it, or stops for another reason."""
    if not isinstance(config, Mapping):
        return [f'it is {_shown(config)}, where an object is wanted, as {{"train_batch_size": 8}}']
    return list(_mistakes(config))


def broken_sections(config: Mapping[str, Any]) -> list[str]:
    """Those of a part of a configuration alone."""
    return list(_of_sections(config))


def broken_zero(section: Any) -> list[str]:
    """Likewise, of a part of ``zero_optimization``."""
    return list(_of_zero(section))


def mistakes_before_all(config: Mapping[str, Any]) -> list[str]:
    """Those that a run does not stop at, or not at once, and with which no study of it would be right."""
    monitors = {n: v for n, v in config.items() if n in OFF_IN_TRIALS}
    return [
        *_of_sections(monitors),
        *_of_the_batch(config),
        *_of_parallel_ranks(config),
        *_of_clipping(config),
    ]


def _mistakes(config: Mapping[str, Any]) -> Iterator[str]:
    yield from _of_sections(config)
    yield from _of_the_batch(config)
    yield from _of_zero(config.get("zero_optimization"))
    if all(_is_on(config.get(name)) for name in ("fp16", "bf16")):
        yield f"fp16 and bf16 are both enabled, and one is allowed; take one out, or type {_PRECISION}"
    optimizer = config.get("optimizer")
    if isinstance(optimizer, Mapping):
        if optimizer and not isinstance(optimizer.get("type"), str):
            yield (
                f"optimizer.type is {_shown(optimizer.get('type'))}, and has to be an optimizer's name; write"
                f" for example {OBJECTS['optimizer']}"
            )
        params = optimizer.get("params")
        if params is not None and not isinstance(params, Mapping):
            yield _no_object("optimizer.params", params, '{"lr": 0.001}', None)


def _of_parallel_ranks(config: Mapping[str, Any]) -> Iterator[str]:
    section = config.get("tensor_parallel")
    tensor = section.get("autotp_size") if isinstance(section, Mapping) else None
    for name, given in (
        ("sequence_parallel_size", config.get("sequence_parallel_size")),
        ("tensor_parallel.autotp_size", tensor),
    ):
        if given not in (None, 0, 1):
            yield (
                f"{name} is {_shown(given)}, and only scripts are tuned whose ranks are all data-parallel; take"
                " it out"
            )


def _of_clipping(config: Mapping[str, Any]) -> Iterator[str]:
    given = config.get("gradient_clipping", 0.0)
    if not _is_number(given):
        yield f"gradient_clipping is {_shown(given)}, and has to be a number; write 1.0, or leave it out"


def _of_sections(config: Mapping[str, Any]) -> Iterator[str]:
    for name, example in OBJECTS.items():
        if name in config and not _is_section(name, config[name]):
            yield _no_object(name, config[name], example, _INSTEAD.get(name))


def _is_section(name: str, given: Any) -> bool:
    if isinstance(given, Mapping):
        return True
    if given is None:
        return name in NULL_IS_LEFT_OUT
    return name == "zero_optimization" and isinstance(given, bool)


def _no_object(name: str, given: Any, example: str, instead: str | None) -> str:
    typed = f", or type {instead}" if instead else ""
    what = " leave it out" if given is None else f" write {example}"
    return f"{name} is {_shown(given)}, where an object is wanted;{what}{typed}"


def _of_the_batch(config: Mapping[str, Any]) -> Iterator[str]:
    given = {name: config[name] for name in BATCH_KEYS if config.get(name) is not None}
    typed = "type workload.global_batch_size=<samples in a step> batch.micro_size=<of them at once>"
    auto = [name for name, value in given.items() if value == "auto"]
    if auto:
        yield (
            f'{" and ".join(auto)}: "auto", which only a Trainer and Accelerate fill in; write a number, or'
            f" {typed}"
        )
    for name, value in given.items():
        if name not in auto and not _is_count(value):
            yield f"{name} is {_shown(value)}, and has to be a whole number from 1; write one, or {typed}"
    if not given.keys() & set(BATCH_KEYS[:2]):
        yield f"neither {BATCH_KEYS[0]} nor {BATCH_KEYS[1]} is in it; write one, or {typed}"


def _of_zero(section: Any) -> Iterator[str]:
    if not isinstance(section, Mapping):
        return
    stage = section.get("stage", 0)
    if not _is_stage(stage):
        instead = _INSTEAD["zero_optimization"]
        yield f"zero_optimization.stage is {_shown(stage)}; allowed are 0, 1, 2, 3; write one, or type {instead}"
    for name in ("offload_optimizer", "offload_param"):
        given = section.get(name)
        if given is not None and not isinstance(given, Mapping):
            yield _no_object(f"zero_optimization.{name}", given, '{"device": "cpu"}', _OFFLOAD)
        elif given and stage == 3 and given.get("device") == "nvme" and not given.get("nvme_path"):
            yield (
                f"zero_optimization.{name} goes to nvme and has no nvme_path; write one, or type"
                " offload=nvme_optimizer, or nvme offload.nvme_path=<folder>"
            )


def _is_stage(stage: Any) -> bool:
    """As DeepSpeed's parser reads it."""
    try:
        return not isinstance(stage, bool) and int(stage) == float(stage) and int(stage) in range(4)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_count(value: Any) -> bool:
    """A script that divides has 4.0."""
    return _is_number(value) and value >= 1 and value == value // 1


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_on(section: Any) -> bool:
    return isinstance(section, Mapping) and section.get("enabled") is True


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = f"of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
