"""Settings as a DeepSpeed configuration: the one module that knows DeepSpeed's key names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sweeper.core.settings import Settings

# The keys that DeepSpeed 0.19 reads at the top level, of which it does not check any:
# runtime/config.py, runtime/constants.py and the sections beside them. A test holds them against the
# installed DeepSpeed.
TOP_LEVEL_KEYS = frozenset(
    [
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "managed_gradient_accumulation",
        "optimizer",
        "scheduler",
        "gradient_clipping",
        "prescale_gradients",
        "gradient_predivide_factor",
        "gradient_allreduce_op",
        "communication_data_type",
        "seq_parallel_communication_data_type",
        "data_types",
        "fp16",
        "bf16",
        "bfloat16",
        "torch_autocast",
        "zero_optimization",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
        "disable_python_gc",
        "disable_allgather",
        "steps_per_print",
        "wall_clock_breakdown",
        "memory_breakdown",
        "dump_state",
        "timers",
        "flops_profiler",
        "comms_logger",
        "tensorboard",
        "wandb",
        "csv_monitor",
        "comet",
        "activation_checkpointing",
        "aio",
        "autotuning",
        "checkpoint",
        "compile",
        "dataloader_drop_last",
        "data_efficiency",
        "data_parallel_size",
        "sequence_parallel_size",
        "tensor_parallel",
        "expert_parallel",
        "pipeline",
        "hybrid_engine",
        "weight_quantization",
        "use_data_before_expert_parallelism",
        "vocabulary_size",
    ]
)


def ds_config(settings: Settings, *, accumulation_steps: int) -> dict[str, Any]:
    """A complete configuration, as ``deepspeed.initialize`` takes it; no key in it is ours."""
    config: dict[str, Any] = {
        "train_batch_size": settings.workload.global_batch_size,
        "train_micro_batch_size_per_gpu": settings.batch.micro_size,
        "gradient_accumulation_steps": accumulation_steps,
        "gradient_clipping": float(settings.optimizer.gradient_clipping),
        "optimizer": _optimizer(settings),
        "zero_optimization": _zero(settings),
        **_precision(settings),
    }
    if settings.comm.dtype is not None:
        config["communication_data_type"] = settings.comm.dtype
    if settings.compile.mode == "deepcompile":
        config["compile"] = {"deepcompile": True}
    if settings.parallel.tensor > 1:
        # DeepSpeed checks it against the whole world here, as if each rank had samples of its own.
        del config["train_batch_size"]
        config["tensor_parallel"] = {"autotp_size": settings.parallel.tensor}
    if settings.parallel.sequence > 1:
        config["sequence_parallel_size"] = settings.parallel.sequence
    if "nvme" in (settings.offload.optimizer, settings.offload.params):
        config["aio"] = _given(
            block_size=settings.offload.aio_block_size,
            queue_depth=settings.offload.aio_queue_depth,
            intra_op_parallelism=settings.offload.aio_threads,
        )
    return _merged(config, settings.ds)


def unknown_top_level_keys(settings: Settings) -> tuple[str, ...]:
    """A note for each raw key that DeepSpeed would accept and never read."""
    notes = []
    for name in settings.ds:
        if name not in TOP_LEVEL_KEYS:
            close = difflib.get_close_matches(name, sorted(TOP_LEVEL_KEYS), n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            notes.append(f"ds.{name}: DeepSpeed knows no such key and would ignore it{meant}")
    return tuple(notes)


def _given(**keys: Any) -> dict[str, Any]:
    """What is not null: the rest is left to DeepSpeed."""
    return {name: value for name, value in keys.items() if value is not None}


def _merged(config: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(config)
    for name, value in raw.items():
        ours = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(ours, Mapping)
        merged[name] = _merged(ours, value) if both else value  # type: ignore[arg-type]
    return merged


def _precision(settings: Settings) -> dict[str, Any]:
    precision = settings.precision
    config: dict[str, Any] = {}
    match precision.mode:
        case "bf16":
            config["bf16"] = {
                "enabled": True,
                **_given(
                    bf16_master_weights_and_grads=precision.bf16_master_weights,
                    bf16_optimizer_states=precision.bf16_optimizer_states,
                ),
            }
        case "fp16" if precision.fp16_loss_scale:
            config["fp16"] = {"enabled": True, "loss_scale": precision.fp16_loss_scale}
        case "fp16":
            config["fp16"] = {
                "enabled": True,
                "initial_scale_power": precision.fp16_initial_scale_power,
            }
        case "autocast_bf16":
            config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if precision.grad_accum_dtype is not None:
        config["data_types"] = {"grad_accum_dtype": precision.grad_accum_dtype}
    return config


def _optimizer(settings: Settings) -> dict[str, Any]:
    optimizer = settings.optimizer
    parameters: dict[str, Any] = {
        "lr": optimizer.lr,
        "betas": list(optimizer.betas),
        "eps": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
    }
    if optimizer.type == "Lion":
        del parameters["eps"]
    if optimizer.type in ("AdamW", "Adam") and settings.offload.optimizer == "none":
        # Under offload DeepSpeed's CPU Adam is what makes offload bearable, and torch_adam would
        # switch it off. Of torch's own, the fused one is as fast as DeepSpeed's and needs no compiler.
        match optimizer.implementation:
            case "fused":
                parameters |= {"torch_adam": True, "fused": True}
            case "foreach":
                parameters |= {"torch_adam": True, "foreach": True}
            case "plain":
                parameters |= {"torch_adam": True, "foreach": False}
    return {"type": optimizer.type, "params": parameters}


def _zero(settings: Settings) -> dict[str, Any]:
    zero, offload = settings.zero, settings.offload
    config: dict[str, Any] = {"stage": zero.stage}
    for f in fields(zero):
        value = getattr(zero, f.name)
        if f.name != "stage" and value is not None:
            plus_plus = f.name.startswith(("hpz_", "quantized_"))
            config[f"zero_{f.name}" if plus_plus else f.name] = value
    pinned = settings.hardware.accelerator == "cuda"
    if offload.pin_memory is not None:
        pinned = offload.pin_memory
    if offload.optimizer != "none":
        nvme = offload.optimizer == "nvme"
        config["offload_optimizer"] = {
            "device": offload.optimizer,
            "pin_memory": pinned,
            **_given(
                ratio=offload.optimizer_ratio,
                super_offload=offload.super_offload,
                nvme_path=offload.nvme_path if nvme else None,
                pipeline_read=offload.pipeline_read if nvme else None,
                pipeline_write=offload.pipeline_write if nvme else None,
            ),
        }
    if offload.params != "none":
        nvme = offload.params == "nvme"
        config["offload_param"] = {
            "device": offload.params,
            "pin_memory": pinned,
            **_given(nvme_path=offload.nvme_path if nvme else None),
        }
    return config


def ops_needed(settings: Settings) -> tuple[str, ...]:
    """The C++ ops, by DeepSpeed's builder names, that a trial with these settings compiles on first use."""
    ops = []
    optimizer, offload = settings.optimizer, settings.offload
    if settings.hardware.accelerator == "cpu":
        ops.append("ShareMemCommBuilder")  # loaded by init_distributed on the CPU accelerator
    if offload.optimizer != "none":
        ops.append("CPULionBuilder" if optimizer.type == "Lion" else "CPUAdamBuilder")
    elif optimizer.type == "Muon" or (
        optimizer.type in ("AdamW", "Adam") and optimizer.implementation == "deepspeed"
    ):  # Muon leaves embeddings and norms to FusedAdam
        ops.append("FusedAdamBuilder")
    elif optimizer.type == "Lion":
        ops.append("FusedLionBuilder")
    if "nvme" in (offload.optimizer, offload.params):
        ops.append("AsyncIOBuilder")
    return tuple(ops)
