"""Settings as a DeepSpeed configuration: the one module that knows DeepSpeed's key names."""

from __future__ import annotations

from typing import Any

from sweeper.core.settings import Settings


def ds_config(settings: Settings, *, accumulation_steps: int) -> dict[str, Any]:
    """A complete configuration, as ``deepspeed.initialize`` takes it; no key in it is ours."""
    config: dict[str, Any] = {
        "train_batch_size": settings.workload.global_batch_size,
        "train_micro_batch_size_per_gpu": settings.batch.micro_size,
        "gradient_accumulation_steps": accumulation_steps,
        "gradient_clipping": float(settings.optimizer.gradient_clipping),
        "optimizer": _optimizer(settings),
        "zero_optimization": _zero(settings),
    }
    match settings.precision.mode:
        case "bf16":
            config["bf16"] = {"enabled": True}
        case "fp16":
            config["fp16"] = {
                "enabled": True,
                "initial_scale_power": settings.precision.fp16_initial_scale_power,
            }
        case "autocast_bf16":
            config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return config


def _optimizer(settings: Settings) -> dict[str, Any]:
    optimizer = settings.optimizer
    parameters: dict[str, Any] = {
        "lr": optimizer.lr,
        "betas": list(optimizer.betas),
        "eps": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
    }
    if settings.offload.optimizer == "none":
        # torch's own fused kernel: as fast, and needs no compiler. Under offload DeepSpeed's CPU
        # Adam is what makes offload bearable, and torch_adam would switch it off.
        parameters |= {"torch_adam": True, "fused": True}
    return {"type": optimizer.type, "params": parameters}


def _zero(settings: Settings) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": settings.zero.stage}
    pinned = settings.hardware.accelerator == "cuda"
    if settings.offload.optimizer != "none":
        zero["offload_optimizer"] = {"device": settings.offload.optimizer, "pin_memory": pinned}
    if settings.offload.params != "none":
        zero["offload_param"] = {"device": settings.offload.params, "pin_memory": pinned}
    return zero


def ops_needed(settings: Settings) -> tuple[str, ...]:
    """The C++ ops, by DeepSpeed's builder names, that a trial with these settings compiles on first use."""
    ops = []
    if settings.hardware.accelerator == "cpu":
        ops.append("ShareMemCommBuilder")  # loaded by init_distributed on the CPU accelerator
    if settings.offload.optimizer == "cpu":
        ops.append("CPUAdamBuilder")
    return tuple(ops)
