"""Which settings DeepSpeed allows together, which it ignores, and which need something: one table.

Each rule has an id (it stands in the results), a condition, a reason in the user's words and the
source of the knowledge. "source" means read in, "run" means tried on DeepSpeed 0.19.8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sweeper.core.machine import Machine
from sweeper.core.settings import HUGGING_FACE, Scalar, Settings, setting_names, with_values


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
    """Where ``applies``, DeepSpeed does not look at the settings ``names``; they become ``neutral``.

    ``why`` is said of a setting that was given all the same; empty where that is no surprise.
    """

    id: str
    names: tuple[str, ...]
    applies: Callable[[Settings], bool]
    why: str
    source: str
    neutral: Scalar = None

    def without(self, settings: Settings) -> tuple[Settings, tuple[str, ...]]:
        """The settings that are left, and a note for each one that was taken out."""
        if not self.applies(settings):
            return settings, ()
        given = {n: v for n in self.names if (v := _value(settings, n)) != self.neutral}
        notes = tuple(f"{n}={v} does nothing {self.why} and is left out" for n, v in given.items())
        return with_values(settings, dict.fromkeys(given, self.neutral)), notes if self.why else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Where ``lacks``, the machine does not have what the settings need."""

    id: str
    lacks: Callable[[Settings, Machine], bool]
    reason: Callable[[Settings, Machine], str]
    source: str


def _value(settings: Settings, name: str) -> Any:
    group, _, setting_name = name.partition(".")
    return getattr(getattr(settings, group), setting_name)


def _names(prefix: str) -> tuple[str, ...]:
    return tuple(name for name in setting_names() if name.startswith(prefix))


_STAGE3 = (
    "zero.sub_group_size",
    *_names("zero.stage3_"),
    "zero.hpz_partition_size",
    "zero.quantized_gradients",
)
_ADAM = ("AdamW", "Adam")


def _zero_ranks(settings: Settings) -> int:
    """ZeRO shards over the ranks of a sequence too."""
    return settings.data_parallel * settings.parallel.sequence


def _cpu(settings: Settings) -> bool:
    return settings.hardware.accelerator == "cpu"


def _offloads(settings: Settings) -> bool:
    return settings.offload.optimizer != "none"


def _on_nvme(settings: Settings) -> bool:
    return "nvme" in (settings.offload.optimizer, settings.offload.params)


def _model(settings: Settings, name: str) -> int | None:
    """A size of the model, where its configuration names it."""
    value = settings.model.get(name)
    return value if isinstance(value, int) else None


def _undivided(settings: Settings) -> str | None:
    """What a model-parallel degree does not divide, in words."""
    degrees = settings.parallel
    heads, kv_heads = _model(settings, "heads"), _model(settings, "kv_heads")
    experts = _model(settings, "experts")
    sizes = (
        ("parallel.tensor", degrees.tensor, "heads", heads),
        ("parallel.tensor", degrees.tensor, "key-value heads", kv_heads),
        ("parallel.sequence", degrees.sequence, "heads", heads),
        ("parallel.sequence", degrees.sequence, "key-value heads", kv_heads),
        ("parallel.sequence", degrees.sequence, "tokens", settings.workload.sequence_length),
        ("parallel.expert", degrees.expert, "experts", experts),
    )
    for name, degree, what, size in sizes:
        if size is not None and size % degree:
            return f"{name}={degree} does not divide the {size} {what}"
    layers = _model(settings, "layers")
    if layers is not None and degrees.pipeline > layers:
        return (
            f"parallel.pipeline={degrees.pipeline} has more stages than the model's {layers} blocks"
        )
    return None


# What is asked for is what DeepSpeed does anyway: equal work has an equal key.
OWN_VALUES = tuple(
    Ignored(
        id=f"deepspeeds-own-value-of-{name}",
        names=(name,),
        applies=lambda s, name=name, own=metadata["own"]: _value(s, name) == own,  # type: ignore[misc]
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
        applies=lambda s: _offloads(s) and s.zero.stage in (1, 2),
        why="with the optimizer offloaded (its gradients are always contiguous)",
        source="source: stage_1_and_2.py sets contiguous_gradients under CPU offload",
    ),
    Ignored(
        id="no-streams-on-the-cpu",
        names=("zero.overlap_comm", "launch.cuda_allocator", "offload.pin_memory"),
        applies=_cpu,
        why="on the CPU",
        source="run: the CPU accelerator has no streams, and its pinned memory is plain memory",
    ),
    Ignored(
        id="checkpoints-are-on-the-cpu-already",
        names=("checkpointing.on_cpu",),
        applies=lambda s: _cpu(s) or s.checkpointing.every_nth_block == 0,
        why="without activation checkpointing on a device",
        source="source: torch.autograd.graph.save_on_cpu copies to the host",
        neutral=False,
    ),
    Ignored(
        id="acts-with-optimizer-offload",
        names=("offload.optimizer_ratio", "offload.super_offload"),
        applies=lambda s: not _offloads(s),
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
        applies=lambda s: not _offloads(s) and s.offload.params == "none",
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
        applies=lambda s: not _on_nvme(s),
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
        applies=lambda s: _offloads(s) or s.optimizer.type not in _ADAM,
        why="",  # the implementation is of Adam on the device
        source="run: under offload Adam and AdamW become DeepSpeedCPUAdam",
        neutral="fused",
    ),
)

FORBIDDEN: tuple[Forbidden, ...] = (
    Forbidden(
        id="degrees-fill-the-ranks",
        applies=lambda s: (
            s.data_parallel * s.parallel.tensor * s.parallel.pipeline * s.parallel.sequence
            != s.hardware.ranks
        ),
        reason=lambda s: (
            f"tensor {s.parallel.tensor} x pipeline {s.parallel.pipeline} x sequence"
            f" {s.parallel.sequence} ranks do not divide hardware.ranks={s.hardware.ranks}"
        ),
        source="source: DeepSpeed asserts that the degrees divide the world size",
    ),
    Forbidden(
        id="degrees-divide-the-model",
        applies=lambda s: _undivided(s) is not None,
        reason=lambda s: str(_undivided(s)),
        source="source: heads, experts and tokens are split evenly",
    ),
    Forbidden(
        id="hugging-face-models-are-whole",
        applies=lambda s: (
            s.model_target == HUGGING_FACE
            and max(s.parallel.tensor, s.parallel.pipeline, s.parallel.sequence) > 1
        ),
        reason=lambda s: (
            "a Hugging Face architecture is trained data-parallel here: parallel.tensor, pipeline and"
            " sequence must be 1"
        ),
        source="source: models/hf.py names neither a pipeline's parts nor what attention shares",
    ),
    Forbidden(
        id="experts-need-a-mixture",
        applies=lambda s: s.parallel.expert > 1 and "experts" not in s.model,
        reason=lambda s: f"parallel.expert={s.parallel.expert} needs a mixture-of-experts model",
        source="source: there is nothing to share",
    ),
    Forbidden(
        id="experts-spread-over-data-parallel-ranks",
        applies=lambda s: s.data_parallel % s.parallel.expert != 0,
        reason=lambda s: (
            f"parallel.expert={s.parallel.expert} does not divide the {s.data_parallel}"
            " data-parallel ranks"
        ),
        source="source: DeepSpeed makes expert groups out of data-parallel ones",
    ),
    Forbidden(
        id="experts-below-stage-3",
        applies=lambda s: s.parallel.expert > 1 and s.zero.stage == 3,
        reason=lambda s: "expert parallelism does not go with ZeRO stage 3",
        source="source: DeepSpeed asserts that MoE layers are not used with stage 3",
    ),
    Forbidden(
        id="pipeline-below-stage-2",
        applies=lambda s: s.parallel.pipeline > 1 and s.zero.stage > 1,
        reason=lambda s: f"parallel.pipeline={s.parallel.pipeline} goes with ZeRO stages 0 and 1",
        source="source: PipelineEngine asserts that gradients are not partitioned",
    ),
    Forbidden(
        id="one-way-to-split-a-model",
        applies=lambda s: (
            sum(
                degree > 1
                for degree in (
                    s.parallel.tensor,
                    s.parallel.pipeline,
                    s.parallel.sequence,
                    s.parallel.expert,
                )
            )
            > 1
        ),
        reason=lambda s: (
            "tensor, pipeline, sequence and expert parallelism go together with data"
            " parallelism here, not with each other"
        ),
        source="source: DeepSpeed's meshes for two of them at once are not ours to place",
    ),
    Forbidden(
        id="optimizer-offload-needs-zero",
        applies=lambda s: _offloads(s) and s.zero.stage == 0,
        reason=lambda s: (
            f"offload.optimizer={s.offload.optimizer} needs ZeRO stage 1, 2 or 3:"
            " stage 0 has no partitioned optimizer to move"
        ),
        source="run: at stage 0 the config passes, but CPU Adam then updates device parameters",
    ),
    Forbidden(
        id="nvme-optimizer-needs-stage-3",
        applies=lambda s: s.offload.optimizer == "nvme" and s.zero.stage in (1, 2),
        reason=lambda s: (
            f"offload.optimizer=nvme at ZeRO stage {s.zero.stage} is plain offload to the CPU;"
            " use stage 3, or offload=optimizer"
        ),
        source="run: stage 2 with device nvme never touches nvme_path",
    ),
    Forbidden(
        id="nvme-needs-a-path",
        applies=lambda s: _on_nvme(s) and not s.offload.nvme_path,
        reason=lambda s: "offload to NVMe needs offload.nvme_path=<a folder on the drive>",
        source="source: DeepSpeed swaps to files under nvme_path",
    ),
    Forbidden(
        id="partial-offload-needs-stage-3",
        applies=lambda s: s.offload.optimizer_ratio is not None and s.zero.stage < 3,
        reason=lambda s: (
            f"offload.optimizer_ratio={s.offload.optimizer_ratio} (Twin-Flow) needs ZeRO stage 3"
        ),
        source="run: AssertionError at stage 2",
    ),
    Forbidden(
        id="partial-offload-is-to-the-cpu",
        applies=lambda s: s.offload.optimizer_ratio is not None and s.offload.optimizer == "nvme",
        reason=lambda s: "offload.optimizer_ratio goes with offload.optimizer=cpu, not nvme",
        source="source: Twin-Flow splits the updates between device and CPU",
    ),
    Forbidden(
        id="bf16-master-weights-need-zero",
        applies=lambda s: (
            bool(s.precision.bf16_master_weights or s.precision.bf16_optimizer_states)
            and s.zero.stage == 0
        ),
        reason=lambda s: "bf16 master weights and optimizer states need ZeRO stage 1, 2 or 3",
        source="source: DeepSpeed's engine asserts it",
    ),
    Forbidden(
        id="bf16-master-weights-alone-need-offload",
        applies=lambda s: (
            bool(s.precision.bf16_master_weights)
            and not s.precision.bf16_optimizer_states
            and not _offloads(s)
        ),
        reason=lambda s: (
            "precision.bf16_master_weights needs precision.bf16_optimizer_states too, or the"
            " optimizer offloaded to the CPU"
        ),
        source="run: refused, or silently without effect where gradients are summed in fp32",
    ),
    Forbidden(
        id="bf16-states-need-bf16-master-weights",
        applies=lambda s: (
            bool(s.precision.bf16_optimizer_states) and not s.precision.bf16_master_weights
        ),
        reason=lambda s: "precision.bf16_optimizer_states needs precision.bf16_master_weights",
        source="source: DeepSpeed's configuration asserts it",
    ),
    Forbidden(
        id="stage-0-accumulates-in-its-own-dtype",
        applies=lambda s: (
            s.zero.stage == 0
            and s.precision.grad_accum_dtype is not None
            and s.precision.grad_accum_dtype != _model_dtype(s)
        ),
        reason=lambda s: (
            f"precision.grad_accum_dtype={s.precision.grad_accum_dtype} at ZeRO stage 0 must be"
            f" {_model_dtype(s)}, what the model is in"
        ),
        source="run: NotImplementedError",
    ),
    Forbidden(
        id="fp32-accumulation-at-stage-1-without-shared-sequences",
        applies=lambda s: (
            s.parallel.sequence > 1
            and s.zero.stage == 1
            and s.precision.mode == "bf16"
            and s.precision.grad_accum_dtype == "fp32"
            and not _offloads(s)
        ),
        reason=lambda s: (
            "precision.grad_accum_dtype=fp32 with bf16 at ZeRO stage 1 fails in DeepSpeed with"
            " parallel.sequence: use stage 2"
        ),
        source="run: its BF16_Optimizer finds no gradients for the norm on the second rank",
    ),
    Forbidden(
        id="quantised-weights-need-16-bits",
        applies=lambda s: (
            bool(s.zero.quantized_weights) and s.precision.mode not in ("bf16", "fp16")
        ),
        reason=lambda s: "zero.quantized_weights needs parameters in bf16 or fp16",
        source="source: the quantiser takes 16-bit parameters",
    ),
    Forbidden(
        id="hpz-divides-the-ranks",
        applies=lambda s: _zero_ranks(s) % (s.zero.hpz_partition_size or 1) != 0,
        reason=lambda s: (
            f"zero.hpz_partition_size={s.zero.hpz_partition_size} does not divide the"
            f" {_zero_ranks(s)} ranks that ZeRO shards over"
        ),
        source="run: refused, or silently without effect where there are fewer ranks",
    ),
    Forbidden(
        id="muon-needs-zero",
        applies=lambda s: s.optimizer.type == "Muon" and s.zero.stage == 0,
        reason=lambda s: "optimizer.type=Muon needs ZeRO stage 1, 2 or 3",
        source="source: DeepSpeed applies Muon inside its ZeRO optimizers",
    ),
    Forbidden(
        id="muon-reduces-whole-gradients-at-stage-3",
        applies=lambda s: (
            s.optimizer.type == "Muon" and s.zero.stage == 3 and s.zero.reduce_scatter is not False
        ),
        reason=lambda s: "optimizer.type=Muon at ZeRO stage 3 needs zero.reduce_scatter=false",
        source="run: refused by DeepSpeed",
    ),
    Forbidden(
        id="deepcompile-needs-zero",
        applies=lambda s: s.compile.mode == "deepcompile" and s.zero.stage == 0,
        reason=lambda s: "compile=deepcompile at ZeRO stage 0 is plain compile=engine",
        source="source: the engine falls back to torch.compile",
    ),
    Forbidden(
        id="pipeline-is-not-compiled",
        applies=lambda s: s.compile.mode != "none" and s.parallel.pipeline > 1,
        reason=lambda s: "a pipeline's stages are not compiled: type compile=none",
        source="source: PipelineEngine runs its layers one by one",
    ),
    Forbidden(
        id="micro-batches-fill-the-global-batch",
        applies=lambda s: (
            s.workload.global_batch_size % max(s.batch.micro_size * s.data_parallel, 1) != 0
        ),
        reason=lambda s: (
            f"the global batch of {s.workload.global_batch_size} is not a multiple of"
            f" {s.batch.micro_size} (batch.micro_size) x {_of_ranks(s)}"
        ),
        violation=lambda s: max(
            0.1, s.batch.micro_size * s.data_parallel / s.workload.global_batch_size - 1
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


def _of_ranks(settings: Settings) -> str:
    if settings.data_parallel == settings.hardware.ranks:
        return f"{settings.hardware.ranks} (hardware.ranks)"
    return f"{settings.data_parallel} (data-parallel ranks)"


def _model_dtype(settings: Settings) -> str:
    mode = settings.precision.mode
    return mode if mode in ("bf16", "fp16") else "fp32"


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
    Needs(
        id="libaio-for-nvme",
        lacks=lambda s, m: _on_nvme(s) and m.libaio is False,
        reason=lambda s, m: (
            "offload to NVMe needs libaio, with which DeepSpeed's async_io op is built;"
            " install libaio-dev (Debian), libaio-devel (Fedora) or libaio (Arch)"
        ),
        source="source: AsyncIOBuilder looks for libaio",
    ),
    Needs(
        id="super-offload-on-cuda",
        lacks=lambda s, m: bool(s.offload.super_offload) and _cpu(s),
        reason=lambda s, m: "offload.super_offload needs a CUDA device",
        source="run: asserts CUDA",
    ),
    Needs(
        id="quantised-weights-on-cuda",
        lacks=lambda s, m: bool(s.zero.quantized_weights) and _cpu(s),
        reason=lambda s, m: "zero.quantized_weights needs a CUDA device and its quantizer op",
        source="run: the op is missing on the CPU",
    ),
    Needs(
        id="deepcompile-on-cuda",
        lacks=lambda s, m: s.compile.mode == "deepcompile" and _cpu(s),
        reason=lambda s, m: (
            "compile=deepcompile needs a CUDA device: its op dc does not build elsewhere"
        ),
        source="run: the build fails on the CPU",
    ),
    Needs(
        id="lion-on-cuda",
        lacks=lambda s, m: s.optimizer.type == "Lion" and _cpu(s) and not _offloads(s),
        reason=lambda s, m: (
            "optimizer.type=Lion without offload needs a CUDA device (FusedLion);"
            " with offload=optimizer it runs on the CPU"
        ),
        source="run: FusedLion is missing on the CPU",
    ),
)
