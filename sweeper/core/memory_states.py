"""What DeepSpeed 0.19.8 holds of a model's states on a rank, piece by piece.

Files named are DeepSpeed's own, under ``deepspeed/runtime``. P is the rank's parameters, N the ranks
that ZeRO shards over, p = P / N; w, g and m are the bytes of an element of the weights, of summed
gradients and of master weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.core.memory_pieces import (
    HEAP_BLOCK_BYTES,
    Phase,
    Piece,
    Place,
    Sizes,
    flat,
    of_parameters,
)
from sweeper.core.memory_share import Share
from sweeper.core.settings import Settings

_BYTES = {"fp32": 4, "autocast_bf16": 4, "bf16": 2, "fp16": 2}
_NORM_BYTES = 8  # zero/utils.py, get_norm_dtype: norms are taken in float64
_WITHIN_A_STEP: tuple[Phase, ...] = ("forward", "backward", "embedding", "reduce")
_BUCKET = 500_000_000
_ALL_REDUCE_BUCKET = 500_000_000  # engine.py, buffered_allreduce_fallback


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bytes of an element."""

    weight: int
    gradient: int  # as it is summed
    master: int
    sent: int
    states: float  # of the optimizer, for one parameter
    update: float  # temporaries of the optimizer, for one parameter


def widths(settings: Settings, share: Share) -> Widths:
    """Of the precision, what gradients are summed and sent in, and the optimizer."""
    precision, offloaded = settings.precision, settings.offload.optimizer != "none"
    weight = _BYTES[precision.mode]
    sent = settings.comm.dtype
    if sent is None and settings.parallel.sequence > 1:
        sent = "fp32"  # config.py: seq_parallel_communication_data_type
    moment = 2 if precision.bf16_optimizer_states else 4
    return Widths(
        weight=weight,
        gradient=_BYTES[precision.grad_accum_dtype] if precision.grad_accum_dtype else weight,
        master=2 if precision.bf16_master_weights else 4,
        sent=_BYTES[sent] if sent else weight,
        states=_moments(settings, share) * moment,
        update=0 if offloaded else _temporaries(settings),
    )


def _moments(settings: Settings, share: Share) -> float:
    """Adam has two, Lion one; Muon one for matrices and leaves the tables to Adam."""
    match settings.optimizer.type:
        case "Lion":
            return 1.0
        case "Muon":
            return 1.0 + share.largest_parameter / max(share.parameters, 1)
    return 2.0


def _temporaries(settings: Settings) -> float:
    """torch/optim/adam.py: the denominator, once out of place for foreach and twice in the loop."""
    if settings.optimizer.type not in ("AdamW", "Adam"):
        return 0.0
    return {"foreach": 4.0, "plain": 8.0}.get(settings.optimizer.implementation, 0.0)


def states(settings: Settings, share: Share) -> list[Piece]:
    """Of the stage and the optimizer wrapper that the engine chooses."""
    # The parameters as they are built, one by one; they leave their room on the heap.
    # ZeRO-3's are in the model's dtype from the start.
    width = widths(settings, share).weight if settings.zero.stage == 3 else 4
    built = [p for p in of_parameters("parameters", "build", share.sizes, width) if p.on_heap]
    match settings.zero.stage:
        case 0:
            return _stage0(settings, share)
        case 3:  # partitions beside the whole ones
            return built * 2 + _stage3(settings, share)
    if _is_bf16_optimizer(settings):
        return built + _bf16_optimizer(settings, share)
    return built + _stages_1_and_2(settings, share)


def _is_bf16_optimizer(settings: Settings) -> bool:
    """engine.py, _do_optimizer_sanity_check."""
    return (
        settings.zero.stage == 1
        and settings.precision.mode == "bf16"
        and settings.precision.grad_accum_dtype == "fp32"
        and settings.offload.optimizer == "none"
    )


def _stage0(settings: Settings, share: Share) -> list[Piece]:
    """16 bits: fp16/unfused_optimizer.py, with a master copy of each parameter; else torch's own."""
    w, sizes = widths(settings, share), share.sizes
    pieces = of_parameters("parameters", "always", sizes, w.weight)
    pieces += of_parameters("optimizer states", "always", sizes, w.states)
    pieces += _in_phases("gradients", ("embedding", "reduce", "step"), sizes, w.weight)
    if share.accumulation_steps > 1:
        pieces += _in_phases("gradients", ("forward", "backward"), sizes, w.weight)
    if w.weight < 4:
        pieces += of_parameters("master weights", "always", sizes, 4)
        # step(): an fp32 gradient of every parameter while the 16-bit ones are there
        pieces += of_parameters("gradients", "step", sizes, 4)
    # engine.py, allreduce_bucket: flattened (by a single rank too), and once more where it is sent
    # in another dtype
    bucket = min(_ALL_REDUCE_BUCKET, share.parameters)
    converted = w.sent if w.sent != w.weight else 0
    pieces.append(flat("buckets and communication", "reduce", bucket * (w.weight + converted)))
    if settings.optimizer.implementation == "plain":
        pieces.append(flat("workspace", "step", share.largest_parameter * w.update))
    else:
        pieces += of_parameters("workspace", "step", sizes, w.update)
    return pieces


def _in_phases(
    component: str, phases: tuple[Phase, ...], sizes: Sizes, element_bytes: float
) -> list[Piece]:
    return [p for phase in phases for p in of_parameters(component, phase, sizes, element_bytes)]


def _bf16_optimizer(settings: Settings, share: Share) -> list[Piece]:
    """bf16_optimizer.py: fp32 gradients of all parameters live for ever, beside the 16-bit ones."""
    w, size = widths(settings, share), share.parameters
    own = size / share.zero_ranks
    pieces = [
        flat("parameters", "always", size * w.weight),
        flat("master weights", "always", own * 4),
        flat("optimizer states", "always", own * w.states),
        flat("gradients", "always", size * 4),
        flat("workspace", "step", own * w.update),
    ]
    pieces += _in_phases("gradients", ("embedding", "reduce"), share.sizes, w.weight)
    bucket = min(_ALL_REDUCE_BUCKET, size)
    pieces.append(flat("buckets and communication", "reduce", bucket * 4))
    return pieces


def _stages_1_and_2(settings: Settings, share: Share) -> list[Piece]:
    """zero/stage_1_and_2.py. Master weights are a copy even where the model is in fp32."""
    w, size, zero = widths(settings, share), share.parameters, settings.zero
    own, several = size / share.zero_ranks, share.accumulation_steps > 1
    offloaded = settings.offload.optimizer != "none"
    place: Place = "host" if offloaded else "device"
    pieces = [
        flat("parameters", "always", size * w.weight),
        flat("master weights", "always", own * w.master, place),
        flat("optimizer states", "always", own * w.states, place),
    ]
    pieces += _reduction(settings, share, w)
    if zero.stage == 1:
        # Whole gradients stay until all micro-batches have added to them; each is then replaced by
        # its place in the bucket, so that of the large ones one is there twice.
        whole = _in_phases("gradients", ("embedding", "reduce"), share.sizes, w.gradient)
        pieces += [p for p in whole if p.on_heap or p.phase == "embedding"]
        pieces.append(flat("gradients", "reduce", share.largest_parameter * w.gradient))
        if several:
            pieces += _in_phases("gradients", ("forward", "backward"), share.sizes, w.gradient)
    if offloaded:
        return pieces + _offloaded_gradients(share, w, several)
    # copy_grads_in_partition, then get_flat_partition and step(): flattened, then made fp32
    summed = _whole_parameters_of_a_partition(share) * w.gradient
    if zero.contiguous_gradients is not False:
        pieces.append(flat("gradients", "reduce", summed))
    if several and zero.stage == 2:
        pieces += [flat("gradients", phase, summed) for phase in _WITHIN_A_STEP]
    converted = own * w.master if w.gradient != w.master else 0.0
    at_norm = min(share.largest_parameter, own) * _NORM_BYTES
    updating = own * (w.master + w.update)
    flattened = own * w.gradient
    gradients = max(summed + flattened + converted, summed + at_norm)
    pieces.append(flat("gradients", "step", gradients))
    pieces.append(flat("workspace", "step", max(updating - gradients, 0.0)))
    return pieces


def _whole_parameters_of_a_partition(share: Share) -> float:
    """Gradients are kept of whole parameters, those that reach into another partition included.

    Of consequence where one parameter, the table of tokens, is larger than a partition: it stands at
    an end, and the rank where it ends has what is left of that partition too.
    """
    own = share.parameters / share.zero_ranks
    return min(own * -(-share.largest_parameter // own), float(share.parameters))


def _reduction(settings: Settings, share: Share, w: Widths) -> list[Piece]:
    """The buffer that gradients are copied to (setup_buckets), and what a reduction copies of it."""
    zero = settings.zero
    bucket = zero.reduce_bucket_size or _BUCKET
    filled = min(bucket, share.up_to(bucket))
    buffers = 2 if zero.overlap_comm else 1
    offloaded = settings.offload.optimizer != "none"
    pieces = []
    if zero.contiguous_gradients is not False or offloaded:
        # Stage 1 fills it when the backward pass has ended, stage 2 while it goes on.
        touched_in = {"reduce"} if zero.stage == 1 else {"embedding", "reduce"}
        for phase in ("backward", "embedding", "reduce"):
            pieces.append(
                Piece(
                    component="buckets and communication",
                    phase=phase,
                    bytes=buffers * bucket * w.weight,
                    touched=filled * w.weight if phase in touched_in else 0.0,
                    on_heap=bucket * w.weight < HEAP_BLOCK_BYTES,
                )
            )
    else:
        if zero.stage == 2:
            pieces += _in_phases("gradients", ("embedding", "reduce"), share.sizes, w.weight)
        pieces.append(flat("buckets and communication", "reduce", filled * w.weight))
    # allreduce_bucket: the slices for several ranks are put together, which copies them
    copied = w.weight if share.zero_ranks > 1 and zero.reduce_scatter is not False else 0
    copied += w.sent if w.sent != w.weight else 0
    pieces.append(flat("buckets and communication", "reduce", filled * copied))
    return pieces


def _offloaded_gradients(share: Share, w: Widths, several: bool) -> list[Piece]:
    """fp32 gradients for CPU Adam, the 16-bit copy of its result, and a staging buffer on each side."""
    own, largest = share.parameters / share.zero_ranks, share.largest_parameter
    pieces = [
        flat("gradients", "always", own * w.master, "host"),
        flat("master weights", "always", own * w.weight, "host"),
        flat("workspace", "always", largest * w.weight, "host"),
        flat("workspace", "always", largest * w.weight),
        flat("workspace", "reduce", largest * _NORM_BYTES),
    ]
    if several:  # accumulated_grads_in_cpu: of each parameter of the partition
        pieces += of_parameters(
            "gradients",
            "always",
            tuple((numel, count / share.zero_ranks) for numel, count in share.sizes),  # type: ignore[misc]
            w.weight,
            "host",
        )
    return pieces


def _stage3(settings: Settings, share: Share) -> list[Piece]:
    """zero/stage3.py and zero/partition_parameters.py."""
    w, size = widths(settings, share), share.parameters
    own = size / share.zero_ranks
    offload = settings.offload
    offloaded = offload.optimizer != "none"
    states_on: Place = "host" if offloaded else "device"
    weights_on: Place = "device" if offload.params == "none" else "host"
    # _create_fp32_partitions: fp32 weights are their own master, unless CPU Adam has a copy.
    has_master = offloaded or w.weight != w.master
    group = min(settings.zero.sub_group_size or 1_000_000_000, own)
    pieces = [
        flat("parameters", "always", own * w.weight, weights_on),
        flat("gradients", "always", own * w.gradient, states_on),
    ]
    on_host = _offloaded_share(settings, own, group) if offloaded else 0.0
    for place, part in ((states_on, on_host), ("device", 1.0 - on_host)):
        if part > 0:
            master = w.master if has_master else 0
            gradient = w.master if offloaded else 0  # initialize_optimizer_states
            pieces += [
                flat("master weights", "always", own * part * master, place),
                flat("optimizer states", "always", own * part * w.states, place),
                flat("gradients", "always", own * part * gradient, place),
            ]
    if not offloaded:
        converted = w.master if w.gradient != w.master else 0
        pieces.append(flat("gradients", "step", group * (w.gradient + converted)))
        pieces.append(flat("workspace", "step", group * w.update))
    at_norm = min(share.largest_parameter / share.zero_ranks, 250_000_000) * _NORM_BYTES
    pieces.append(flat("workspace", "reduce" if offloaded else "step", at_norm))
    return pieces + _gathered(settings, share, w) + _reduction_at_stage_3(settings, share, w)


def _offloaded_share(settings: Settings, own: float, group: float) -> float:
    """Twin-Flow moves whole sub-groups: those from int((1 - ratio) * groups) on."""
    ratio = settings.offload.optimizer_ratio
    groups = max(round(own / group), 1)
    return 1.0 - int((1.0 - (1.0 if ratio is None else ratio)) * groups) / groups


def _gathered(settings: Settings, share: Share, w: Widths) -> list[Piece]:
    """Whole parameters: small ones always, the others from their forward to their backward pass."""
    if share.zero_ranks == 1:
        return []  # _no_gather_coalesced: the partition is the parameter
    zero = settings.zero
    threshold = _own(zero.stage3_param_persistence_threshold, 100_000)
    persistent = share.up_to(threshold)
    rest = tuple((numel, count) for numel, count in share.sizes if numel > threshold)
    # partitioned_param_coordinator.py, __params_to_release: kept where it comes again within the
    # distance, which it does around the middle of the step.
    distance = _own(zero.stage3_max_reuse_distance, 1_000_000_000)
    ahead = min(
        _own(zero.stage3_prefetch_bucket_size, 50_000_000),
        _own(zero.stage3_max_live_parameters, 1_000_000_000),
    )
    live = max(distance / 2, share.largest_parameter) + ahead
    whole = share.parameters - persistent
    part = min(live / whole, 1.0) if whole else 0.0
    pieces = [flat("parameters", "always", persistent * w.weight)]
    for phase in ("forward", "backward"):
        gathered = of_parameters("parameters", phase, rest, w.weight * part)
        pieces += gathered
    return pieces


def _own(value: int | None, deepspeeds: int) -> int:
    return deepspeeds if value is None else value


def _reduction_at_stage_3(settings: Settings, share: Share, w: Widths) -> list[Piece]:
    """The bucket is there from the start; reduce_scatter_coalesced puts a copy of it in order."""
    zero = settings.zero
    bucket = zero.reduce_bucket_size or _BUCKET
    filled = min(bucket, share.up_to(bucket))
    pieces = []
    if zero.contiguous_gradients is not False:
        pieces.append(
            Piece(
                component="buckets and communication",
                phase="always",
                bytes=bucket * w.weight,
                touched=filled * w.weight,
                on_heap=bucket * w.weight < HEAP_BLOCK_BYTES,
            )
        )
    else:
        pieces += of_parameters("gradients", "reduce", share.sizes, w.weight)
    converted = w.sent if w.sent != w.weight else 0
    copied = w.sent + converted
    if zero.reduce_scatter is False and zero.contiguous_gradients is not False:
        copied = converted
    elif settings.hardware.accelerator == "cpu":
        copied += w.sent  # gloo reduces a copy
    pieces.append(flat("buckets and communication", "reduce", filled * copied))
    if share.largest_parameter > bucket:
        pieces.append(flat("gradients", "reduce", share.largest_parameter * w.weight))
    return pieces
