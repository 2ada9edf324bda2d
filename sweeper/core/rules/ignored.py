"""Settings that DeepSpeed does not look at beside others, and those that are its own values."""

from __future__ import annotations

from sweeper.core.rules.conditions import cpu, offloads, on_nvme, value
from sweeper.core.rules.kinds import Ignored
from sweeper.core.settings import setting_names


def _names(prefix: str) -> tuple[str, ...]:
    return tuple(name for name in setting_names() if name.startswith(prefix))


_STAGE3 = (
    "zero.sub_group_size",
    *_names("zero.stage3_"),
    "zero.hpz_partition_size",
    "zero.quantized_gradients",
)
_ADAM = ("AdamW", "Adam")

# What is asked for is what DeepSpeed does anyway: equal work has an equal key.
OWN_VALUES = tuple(
    Ignored(
        id=f"deepspeeds-own-value-of-{name}",
        names=(name,),
        applies=lambda s, name=name, own=metadata["own"]: value(s, name) == own,  # type: ignore[misc]
        why="",
        source="source: the defaults of DeepSpeed's configuration classes",
    )
    for name, metadata in setting_names().items()
    if metadata.get("own") is not None and name != "offload.pin_memory"
)

IGNORED: tuple[Ignored, ...] = (
    Ignored(
        id="acts-at-stage-3",
        names=_STAGE3,
        applies=lambda s: s.zero.stage < 3,
        why="below ZeRO stage 3 (only it partitions parameters)",
        source="run: hpZ, qwZ and qgZ are accepted at stages 0 and 2 and never read; source: the others",
    ),
    Ignored(
        id="quantised-weights-act-at-stage-3",
        names=("zero.quantized_weights",),
        applies=lambda s: s.zero.stage < 3 and s.precision.mode != "autocast_bf16",
        why="below ZeRO stage 3 (only it partitions parameters)",
        source="run: accepted at stages 0 to 2 and never read, but refused with autocast",
    ),
    Ignored(
        id="param-offload-acts-at-stage-3",
        names=("offload.params",),
        applies=lambda s: s.zero.stage < 3,
        why="below ZeRO stage 3 (only it partitions parameters)",
        source="run: DeepSpeed accepts offload_param below stage 3 and never reads it",
        neutral="none",
    ),
    Ignored(
        id="acts-with-zero",
        names=(
            "zero.reduce_bucket_size",
            "zero.allgather_bucket_size",
            "zero.overlap_comm",
            "zero.reduce_scatter",
            "zero.contiguous_gradients",
        ),
        applies=lambda s: s.zero.stage == 0,
        why="at ZeRO stage 0",
        source="source: they are options of the ZeRO optimizers",
    ),
    Ignored(
        id="acts-at-stages-1-and-2",
        names=("zero.round_robin_gradients", "zero.allgather_bucket_size"),
        applies=lambda s: s.zero.stage in (0, 3),
        why="at ZeRO stages 0 and 3",
        source="source: read by the optimizer of stages 1 and 2 alone",
    ),
    Ignored(
        id="offload-keeps-gradients-contiguous",
        names=("zero.contiguous_gradients",),
        applies=lambda s: offloads(s) and s.zero.stage in (1, 2),
        why="with the optimizer offloaded (its gradients are always contiguous)",
        source="source: stage_1_and_2.py sets contiguous_gradients under CPU offload",
    ),
    Ignored(
        id="no-streams-on-the-cpu",
        names=("zero.overlap_comm", "launch.cuda_allocator", "offload.pin_memory"),
        applies=cpu,
        why="on the CPU",
        source="run: the CPU accelerator has no streams, and its pinned memory is plain memory",
    ),
    Ignored(
        id="checkpoints-are-on-the-cpu-already",
        names=("checkpointing.on_cpu",),
        applies=lambda s: cpu(s) or s.checkpointing.every_nth_block == 0,
        why="without activation checkpointing on a device",
        source="source: torch.autograd.graph.save_on_cpu copies to the host",
        neutral=False,
    ),
    Ignored(
        id="acts-with-optimizer-offload",
        names=("offload.optimizer_ratio", "offload.super_offload"),
        applies=lambda s: not offloads(s),
        why="without an offloaded optimizer",
        source="source: fields of offload_optimizer",
    ),
    Ignored(
        id="super-offload-acts-at-stage-3",
        names=("offload.super_offload",),
        applies=lambda s: s.zero.stage < 3,
        why="below ZeRO stage 3",
        source="run: accepted at stages 1 and 2 and never read",
    ),
    Ignored(
        id="acts-with-offload",
        names=("offload.pin_memory",),
        applies=lambda s: not offloads(s) and s.offload.params == "none",
        why="without offload",
        source="source: a field of offload_optimizer and offload_param",
    ),
    Ignored(
        id="acts-with-nvme",
        names=(
            "offload.nvme_path",
            "offload.pipeline_read",
            "offload.pipeline_write",
            *_names("offload.aio_"),
        ),
        applies=lambda s: not on_nvme(s),
        why="without offload to NVMe",
        source="source: read by the swappers to NVMe alone",
    ),
    Ignored(
        id="quantised-gradients-between-nodes",
        names=("zero.quantized_gradients",),
        applies=lambda s: True,  # one node is all there is here
        why="on one node",
        source="source: the quantised path runs where world // device_count > 1",
    ),
    Ignored(
        id="loss-scale-acts-in-fp16",
        names=("precision.fp16_initial_scale_power",),
        applies=lambda s: s.precision.mode != "fp16" or bool(s.precision.fp16_loss_scale),
        why="",  # always so: not worth a note
        source="source: the fp16 section is written for fp16 only, and a fixed scale does not start",
        neutral=0,
    ),
    Ignored(
        id="fixed-loss-scale-acts-in-fp16",
        names=("precision.fp16_loss_scale",),
        applies=lambda s: s.precision.mode != "fp16",
        why="without fp16",
        source="source: a field of the fp16 section",
    ),
    Ignored(
        id="bf16-states-act-in-bf16",
        names=("precision.bf16_master_weights", "precision.bf16_optimizer_states"),
        applies=lambda s: s.precision.mode != "bf16",
        why="without bf16",
        source="source: fields of the bf16 section",
    ),
    Ignored(
        id="offloaded-adam-is-deepspeeds",
        names=("optimizer.implementation",),
        applies=lambda s: offloads(s) or s.optimizer.type not in _ADAM,
        why="",  # the implementation is of Adam on the device
        source="run: under offload Adam and AdamW become DeepSpeedCPUAdam",
        neutral="fused",
    ),
)
