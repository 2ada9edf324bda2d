"""Which settings DeepSpeed allows together, which it ignores, and which need something: one table.

Each rule has an id (it stands in the results), a condition, a reason in the user's words and the
source of the knowledge. "source" means read in, "run" means tried on DeepSpeed 0.19.8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sweeper.core.machine import Machine
from sweeper.core.settings import Settings


def _always_one(_: Settings) -> float:
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden:
    """Where ``applies``, the trial cannot be run as it is meant. ``violation`` > 0 grades by how much."""

    id: str
    applies: Callable[[Settings], bool]
    reason: Callable[[Settings], str]
    source: str
    violation: Callable[[Settings], float] = _always_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Where ``applies``, DeepSpeed would not look at a setting; ``without`` takes it out."""

    id: str
    applies: Callable[[Settings], bool]
    without: Callable[[Settings], Settings]
    reason: Callable[[Settings], str]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Where ``lacks``, the machine does not have what the settings need."""

    id: str
    lacks: Callable[[Settings, Machine], bool]
    reason: Callable[[Settings, Machine], str]
    source: str


IGNORED: tuple[Ignored, ...] = (
    Ignored(
        id="param-offload-acts-at-stage-3",
        applies=lambda s: s.offload.params != "none" and s.zero.stage < 3,
        without=lambda s: replace(s, offload=replace(s.offload, params="none")),
        reason=lambda s: (
            f"offload.params={s.offload.params} does nothing at ZeRO stage {s.zero.stage}"
            " (only stage 3 partitions parameters) and is left out"
        ),
        source="run: DeepSpeed accepts offload_param below stage 3 and never reads it",
    ),
    Ignored(
        id="loss-scale-acts-in-fp16",
        applies=lambda s: s.precision.mode != "fp16" and s.precision.fp16_initial_scale_power != 0,
        without=lambda s: replace(s, precision=replace(s.precision, fp16_initial_scale_power=0)),
        reason=lambda s: "",  # always so: not worth a note
        source="source: the fp16 section is written for fp16 only",
    ),
)

FORBIDDEN: tuple[Forbidden, ...] = (
    Forbidden(
        id="optimizer-offload-needs-zero",
        applies=lambda s: s.offload.optimizer != "none" and s.zero.stage == 0,
        reason=lambda s: (
            "offload.optimizer=cpu needs ZeRO stage 1, 2 or 3: stage 0 has no partitioned optimizer to move"
        ),
        source="run: at stage 0 the config passes, but CPU Adam then updates device parameters",
    ),
    Forbidden(
        id="micro-batches-fill-the-global-batch",
        applies=lambda s: (
            s.workload.global_batch_size % (s.batch.micro_size * s.hardware.ranks) != 0
        ),
        reason=lambda s: (
            f"the global batch of {s.workload.global_batch_size} is not a multiple of"
            f" {s.batch.micro_size} (batch.micro_size) x {s.hardware.ranks} (hardware.ranks)"
        ),
        violation=lambda s: max(
            0.1, s.batch.micro_size * s.hardware.ranks / s.workload.global_batch_size - 1
        ),
        source="source: DeepSpeed asserts train_batch_size = micro-batch x accumulation x world",
    ),
    Forbidden(
        id="sequence-fits-the-model",
        applies=lambda s: (
            s.workload.sequence_length
            > int(s.model.get("max_positions", s.workload.sequence_length))
        ),
        reason=lambda s: (
            f"workload.sequence_length={s.workload.sequence_length} is more than the"
            f" {s.model['max_positions']} positions of the model"
        ),
        violation=lambda s: s.workload.sequence_length / int(s.model["max_positions"]) - 1,
        source="source: the model has a learned table of positions",
    ),
)

NEEDS: tuple[Needs, ...] = (
    Needs(
        id="a-device-for-each-rank",
        lacks=lambda s, m: (
            s.hardware.accelerator == "cuda"
            and m.devices is not None
            and s.hardware.ranks > m.devices
        ),
        reason=lambda s, m: (
            f"hardware.ranks={s.hardware.ranks} needs as many CUDA devices; there are {m.devices}"
        ),
        source="source: the launcher gives each rank a device of its own",
    ),
    Needs(
        id="fp16-on-the-device",
        lacks=lambda s, m: s.precision.mode == "fp16" and m.fp16 is False,
        reason=lambda s, m: f"fp16 is not supported on {m.device_name or s.hardware.accelerator}",
        source="source: DeepSpeed asks its accelerator's is_fp16_supported()",
    ),
    Needs(
        id="bf16-on-the-device",
        lacks=lambda s, m: s.precision.mode in ("bf16", "autocast_bf16") and m.bf16 is False,
        reason=lambda s, m: f"bf16 is not supported on {m.device_name or s.hardware.accelerator}",
        source="source: DeepSpeed asks its accelerator's is_bf16_supported()",
    ),
)
