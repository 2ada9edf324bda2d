"""What DeepSpeed 0.19.8 holds of a model's states on a rank, piece by piece.

Files named are DeepSpeed's own, under ``deepspeed/runtime``.
"""

from __future__ import annotations

from sweeper.core.memory.pieces import (
    HEAP_BLOCK_BYTES,
    Phase,
    Piece,
    Place,
    Sizes,
    flat,
    of_parameters,
    page_locked,
)
from sweeper.core.memory.share import Share
from sweeper.core.memory.stage3 import stage3
from sweeper.core.memory.widths import BUCKET, NORM_BYTES, Widths, is_pinned, widths
from sweeper.core.settings import Settings

_WITHIN_A_STEP: tuple[Phase, ...] = ("forward", "backward", "embedding", "reduce")
_ALL_REDUCE_BUCKET = 500_000_000  # engine.py, buffered_allreduce_fallback


def states(settings: Settings, share: Share) -> list[Piece]:
    """Of the stage and the optimizer wrapper that the engine chooses."""
    built = _built(settings, share) if settings.hardware.accelerator == "cpu" else []
    match settings.zero.stage:
        case 0:
            return _stage0(settings, share)
        case 3:
            return built + stage3(settings, share)
    if _is_bf16_optimizer(settings):
        return built + _bf16_optimizer(settings, share)
    return built + _stages_1_and_2(settings, share)


def _built(settings: Settings, share: Share) -> list[Piece]:
    """The parameters as they are built, one by one, before ZeRO makes them flat.

    They leave their room on the heap. ZeRO-3's are in the model's dtype from the start, and there
    are partitions beside the whole ones.
    """
    partitioned = settings.zero.stage == 3
    width = 2 * widths(settings, share).weight if partitioned else 4
    built = of_parameters("parameters", "build", share.sizes, width)
    return [piece for piece in built if piece.on_heap]


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
    own = share.own
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
    own, several = share.own, share.accumulation_steps > 1
    offloaded = settings.offload.optimizer != "none"
    place: Place = "host" if offloaded else "device"
    pieces = [
        flat("parameters", "always", size * w.weight),
        *_pinned(settings, [flat("master weights", "always", own * w.master, place)]),
        flat("optimizer states", "always", own * w.states, place),
    ]
    filled = _filled(settings, share)
    copies = filled * _copied(settings, share, w)
    pieces += _reduction(settings, share, w, filled, copies)
    # Where one reduction takes all gradients, its copies are gone before the partition's are kept.
    gone = copies if filled == share.parameters else 0.0
    if zero.stage == 1:
        # Whole gradients stay until all micro-batches have added to them; each is then replaced by
        # its place in the bucket, so that of the large ones one is there twice.
        whole = _in_phases("gradients", ("embedding", "reduce"), share.sizes, w.gradient)
        pieces += [p for p in whole if p.on_heap or p.phase == "embedding"]
        last = max(share.largest_parameter * w.gradient - gone, 0.0)
        pieces.append(flat("gradients", "reduce", last))
        if several:
            pieces += _in_phases("gradients", ("forward", "backward"), share.sizes, w.gradient)
    if offloaded:
        return pieces + _offloaded_gradients(settings, share, w)
    # copy_grads_in_partition, then get_flat_partition and step(): flattened, then made fp32
    summed = _whole_parameters_of_a_partition(share) * w.gradient
    if zero.contiguous_gradients is not False:
        pieces.append(flat("gradients", "reduce", max(summed - gone, 0.0)))
    if several and zero.stage == 2:
        pieces += [flat("gradients", phase, summed) for phase in _WITHIN_A_STEP]
    converted = own * w.master if w.gradient != w.master else 0.0
    at_norm = min(share.largest_parameter, own) * NORM_BYTES
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
    own = share.own
    return min(own * -(-share.largest_parameter // own), float(share.parameters))


def _filled(settings: Settings, share: Share) -> float:
    """Elements of the gradients that are reduced at once."""
    bucket = settings.zero.reduce_bucket_size or BUCKET
    return min(bucket, share.up_to(bucket))


def _in_bucket(settings: Settings, w: Widths) -> int:
    """Bytes of an element: stage 1 fills it with what it has summed, stage 2 with what comes."""
    return w.gradient if settings.zero.stage == 1 else w.weight


def _copied(settings: Settings, share: Share, w: Widths) -> int:
    """Bytes of an element: allreduce_bucket puts the slices for several ranks together."""
    width = _in_bucket(settings, w)
    several = share.zero_ranks > 1 and settings.zero.reduce_scatter is not False
    return (width if several else 0) + (w.sent if w.sent != width else 0)


def _reduction(
    settings: Settings, share: Share, w: Widths, filled: float, copies: float
) -> list[Piece]:
    """The buffer that gradients are copied to (setup_buckets), and what a reduction copies of it."""
    zero = settings.zero
    bucket = zero.reduce_bucket_size or BUCKET
    width = _in_bucket(settings, w)
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
                    bytes=buffers * bucket * width,
                    touched=filled * width if phase in touched_in else 0.0,
                    on_heap=bucket * width < HEAP_BLOCK_BYTES,
                )
            )
    else:
        if zero.stage == 2:
            pieces += _in_phases("gradients", ("embedding", "reduce"), share.sizes, w.weight)
        pieces.append(flat("buckets and communication", "reduce", filled * width))
    pieces.append(flat("buckets and communication", "reduce", copies))
    if offloaded:  # the copies are gone when the norm of each gradient is taken
        norm = max(share.largest_parameter * NORM_BYTES - copies, 0.0)
        pieces.append(flat("workspace", "reduce", norm))
    return pieces


def _offloaded_gradients(settings: Settings, share: Share, w: Widths) -> list[Piece]:
    """fp32 gradients for CPU Adam, the 16-bit copy of its result, and a staging buffer on each side."""
    own, largest = share.own, share.largest_parameter
    pieces = _pinned(
        settings,
        [
            flat("gradients", "always", own * w.master, "host"),
            flat("master weights", "always", own * w.weight, "host"),
            flat("workspace", "always", largest * w.weight, "host"),
        ],
    )
    pieces.append(flat("workspace", "always", largest * w.weight))
    if w.gradient != w.weight:  # _build_compact_grad_partition_buffer
        pieces += [flat("gradients", phase, own * w.gradient) for phase in _WITHIN_A_STEP[1:]]
    elif share.accumulation_steps > 1 and settings.zero.stage == 2:
        # accumulated_grads_in_cpu: of each parameter of the partition
        part = w.weight / share.zero_ranks
        pieces += of_parameters("gradients", "always", share.sizes, part, "host")
    return pieces


def _pinned(settings: Settings, pieces: list[Piece]) -> list[Piece]:
    """stage_1_and_2.py, cpu_offload_pin_memory: each in one page-locked block, where it is offloaded."""
    return page_locked(pieces) if is_pinned(settings, "optimizer") else pieces
