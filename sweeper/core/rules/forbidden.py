"""Settings that DeepSpeed, or the model, does not allow together."""

from __future__ import annotations

from sweeper.core.rules.conditions import offloads, on_nvme
from sweeper.core.rules.kinds import Forbidden
from sweeper.core.settings import HUGGING_FACE, Settings


def _zero_ranks(settings: Settings) -> int:
    """ZeRO shards over the ranks of a sequence too."""
    return settings.data_parallel * settings.parallel.sequence


def _model(settings: Settings, name: str) -> int | None:
    """A size of the model, where its configuration names it."""
    value = settings.model.get(name)
    return value if isinstance(value, int) else None


def _missing_positions(settings: Settings) -> int:
    """How many tokens of a sequence the model has no position for."""
    length = settings.workload.sequence_length
    positions = _model(settings, "max_positions")
    return 0 if positions is None else max(length - positions, 0)


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


def _of_ranks(settings: Settings) -> str:
    if settings.data_parallel == settings.hardware.ranks:
        return f"{settings.hardware.ranks} (hardware.ranks)"
    return f"{settings.data_parallel} (data-parallel ranks)"


def _model_dtype(settings: Settings) -> str:
    mode = settings.precision.mode
    return mode if mode in ("bf16", "fp16") else "fp32"


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
        applies=lambda s: offloads(s) and s.zero.stage == 0,
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
        applies=lambda s: on_nvme(s) and not s.offload.nvme_path,
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
            and not offloads(s)
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
            and not offloads(s)
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
        id="own-accumulation-keeps-its-gradients",
        applies=lambda s: (
            s.script.sums_gradients_at is not None
            and str(s.zero.stage) not in s.script.sums_gradients_at.split(",")
        ),
        reason=lambda s: (
            "the script accumulates in a loop of its own without set_gradient_accumulation_boundary:"
            " at ZeRO stages 1 and 2 DeepSpeed then keeps the gradients of the last micro-batch alone,"
            f" and sums them at 0 and 3; its own training is at {s.script.sums_gradients_at}"
        ),
        source="run: four backward passes and one step of SGD, at each stage with and without it",
    ),
    Forbidden(
        id="sequence-fits-the-model",
        applies=lambda s: _missing_positions(s) > 0,
        reason=lambda s: (
            f"workload.sequence_length={s.workload.sequence_length} is more than the"
            f" {s.model['max_positions']} positions of the model"
        ),
        violation=lambda s: _missing_positions(s) / s.workload.sequence_length,
        source="source: the model has a learned table of positions",
    ),
)
