"""A DeepSpeed configuration as its engine understands it, in the words of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sweeper.core.settings import Scalar

# The settings that leave a detail of the configuration to DeepSpeed where they are null, and the key
# that says it. ``offload.pin_memory`` is two keys; what a loss scale starts with is no property of a training.
KEYS_OF_SETTINGS: Mapping[str, tuple[str, ...]] = {
    **{
        f"zero.{name}": ("zero_optimization", name)
        for name in (
            "reduce_bucket_size",
            "allgather_bucket_size",
            "overlap_comm",
            "reduce_scatter",
            "contiguous_gradients",
            "round_robin_gradients",
            "sub_group_size",
            "stage3_prefetch_bucket_size",
            "stage3_param_persistence_threshold",
            "stage3_max_live_parameters",
            "stage3_max_reuse_distance",
            "stage3_module_granularity_threshold",
            "stage3_allgather_sequential",
        )
    },
    **{
        f"zero.{name}": ("zero_optimization", f"zero_{name}")
        for name in ("hpz_partition_size", "quantized_weights", "quantized_gradients")
    },
    "offload.optimizer_ratio": ("zero_optimization", "offload_optimizer", "ratio"),
    "offload.super_offload": ("zero_optimization", "offload_optimizer", "super_offload"),
    "offload.pipeline_read": ("zero_optimization", "offload_optimizer", "pipeline_read"),
    "offload.pipeline_write": ("zero_optimization", "offload_optimizer", "pipeline_write"),
    "offload.aio_block_size": ("aio", "block_size"),
    "offload.aio_queue_depth": ("aio", "queue_depth"),
    "offload.aio_threads": ("aio", "intra_op_parallelism"),
    "precision.fp16_loss_scale": ("fp16", "loss_scale"),
    "precision.bf16_master_weights": ("bf16", "bf16_master_weights_and_grads"),
    "precision.bf16_optimizer_states": ("bf16", "bf16_optimizer_states"),
    "precision.grad_accum_dtype": ("data_types", "grad_accum_dtype"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples in an optimizer step over all ranks, in a forward pass of one, and passes in a step."""

    train: int
    micro: int
    accumulation: int

    def keys(self) -> dict[str, int]:
        """As a configuration says it."""
        return {
            "train_batch_size": self.train,
            "train_micro_batch_size_per_gpu": self.micro,
            "gradient_accumulation_steps": self.accumulation,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What DeepSpeed makes of a configuration, its defaults filled in.

    ``offload_optimizer`` and ``offload_param`` are the devices that it names: whether they act depends on
    the stage. ``precision`` is None where no setting says it, ``batch`` where a framework has yet to fill it
    in or there is none. ``values`` has every setting of KEYS_OF_SETTINGS, ``given`` those that stand in the
    configuration.
    """

    stage: int
    offload_optimizer: str
    offload_param: str
    nvme_path: str | None
    precision: str | None
    communication_dtype: str | None
    batch: Batch | None
    values: Mapping[str, Scalar]
    given: tuple[str, ...]

    def optimizer_device(self, stage: int) -> str:
        """Where the optimizer's states live at a stage: stage 0 moves none, and below 3 NVMe is the CPU."""
        if stage == 0:
            return "none"
        return "cpu" if self.offload_optimizer == "nvme" and stage < 3 else self.offload_optimizer

    def param_device(self, stage: int) -> str:
        """Where parameters wait: only stage 3 moves them."""
        return self.offload_param if stage == 3 else "none"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Resolved:
        batch = document["batch"]
        more = {"batch": batch and Batch(**batch), "given": tuple(document["given"])}
        return Resolved(**{**document, **more})
