"""What frameworks take as arguments of their own beside a DeepSpeed configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.core.whole_config import section


def trainer_arguments(
    config: Mapping[str, Any], settings: Mapping[str, Any], *, keeps_optimizer: bool = False
) -> dict[str, Any]:
    """Fields of ``transformers.TrainingArguments`` that stand for the ``auto`` of its variant.

    ``config`` is whole (``core.whole_config``), ``settings`` the document of ``core.exported``; of
    ``keeps_optimizer`` as for the variant.
    """
    arguments: dict[str, Any] = {
        "per_device_train_batch_size": config["train_micro_batch_size_per_gpu"],
        "gradient_accumulation_steps": config["gradient_accumulation_steps"],
        "max_grad_norm": config.get("gradient_clipping", 0.0),
        "bf16": _enabled(config, "bf16"),
        "fp16": _enabled(config, "fp16"),
    }
    if settings["hardware"]["accelerator"] == "cpu":
        arguments["use_cpu"] = True  # bf16 is refused without
    if (optimizer := trainer_optimizer(config)) and not keeps_optimizer:
        arguments["optim"] = optimizer
    # What is off is said too: the lines stand in the place of the user's own.
    if recomputes_every_block(settings):
        arguments["gradient_checkpointing"] = True
        arguments["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    elif not settings["checkpointing"]["every_nth_block"]:
        arguments["gradient_checkpointing"] = False
    if (mode := settings["compile"]["mode"]) is not None:
        arguments["torch_compile"] = mode != "none"
    return arguments


def trainer_optimizer(config: Mapping[str, Any]) -> str | None:
    """The Trainer's name for the winner's optimizer; None where it has none, or the winner names none.

    Under offload it makes DeepSpeed's CPU Adam of either.
    """
    parameters = section(config, "optimizer", "params")
    if section(config, "optimizer").get("type") not in ("Adam", "AdamW"):
        return None
    if parameters.get("torch_adam"):
        return "adamw_torch_fused" if parameters.get("fused") else "adamw_torch"
    return "adamw_torch" if offloads_optimizer(config) else None


def offloads_optimizer(config: Mapping[str, Any]) -> bool:
    """Whether the states are updated on the host."""
    offload = section(config, "zero_optimization", "offload_optimizer")
    return bool(offload.get("device", "none") != "none")


def recomputes_every_block(settings: Mapping[str, Any]) -> bool:
    """Whether ``gradient_checkpointing`` of Hugging Face's models is what the winner does."""
    checkpointing = settings["checkpointing"]
    return checkpointing["every_nth_block"] == 1 and not checkpointing["on_cpu"]


def axolotl_lines(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    ds_config: str,
    keeps_optimizer: bool = False,
) -> dict[str, Any]:
    """Lines of Axolotl's YAML; ``ds_config`` is the path of the Trainer's variant."""
    arguments = trainer_arguments(config, settings, keeps_optimizer=keeps_optimizer)
    arguments.pop("use_cpu", None)
    renamed = {"per_device_train_batch_size": "micro_batch_size", "optim": "optimizer"}
    return {"deepspeed": ds_config} | {renamed.get(n, n): v for n, v in arguments.items()}


def llamafactory_lines(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    ds_config: str,
    keeps_optimizer: bool = False,
) -> dict[str, Any]:
    """Lines of LLaMA-Factory's YAML, as ``axolotl_lines``; it recomputes unless it is told not to."""
    arguments = trainer_arguments(config, settings, keeps_optimizer=keeps_optimizer)
    arguments.pop("gradient_checkpointing_kwargs", None)
    recomputes = arguments.pop("gradient_checkpointing", None)
    if recomputes:
        arguments |= {"disable_gradient_checkpointing": False, "use_reentrant_gc": False}
    elif recomputes is not None:
        arguments |= {"disable_gradient_checkpointing": True, "gradient_checkpointing": False}
    return {"deepspeed": ds_config, **arguments}


def accelerate_config(
    config: Mapping[str, Any], settings: Mapping[str, Any], *, ds_config: str
) -> dict[str, Any]:
    """What ``accelerate launch --config_file`` reads; beside a DeepSpeed file it allows no more than this."""
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "DEEPSPEED",
        "num_machines": 1,
        "num_processes": settings["hardware"]["ranks"],
        "deepspeed_config": {
            "deepspeed_config_file": ds_config,
            "zero3_init_flag": section(config, "zero_optimization").get("stage") == 3,
        },
    }


def lightning_arguments(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``lightning.Trainer`` beside its strategy."""
    precision = "32-true"
    if _enabled(config, "bf16"):
        precision = "bf16-true"
    elif _enabled(config, "fp16"):
        precision = "16-true"
    return {
        "accelerator": "cuda",  # its strategy has no other
        "devices": settings["hardware"]["ranks"],
        "precision": precision,
        "accumulate_grad_batches": config["gradient_accumulation_steps"],
        "gradient_clip_val": config.get("gradient_clipping", 0.0),
    }


def _enabled(config: Mapping[str, Any], name: str) -> bool:
    return bool(section(config, name).get("enabled", False))
