"""What DeepSpeed 0.19.8 holds of a model's states on a rank at ZeRO stage 3, piece by piece.

Files named are DeepSpeed's own, under ``deepspeed/runtime``.
"""

from __future__ import annotations

from sweeper.core.memory.pieces import (
    HEAP_BLOCK_BYTES,
    Piece,
    Place,
    flat,
    of_parameters,
    page_locked,
)
from sweeper.core.memory.share import Share
from sweeper.core.memory.widths import BUCKET, NORM_BYTES, Widths, is_pinned, widths
from sweeper.core.settings import Settings


def stage3(settings: Settings, share: Share) -> list[Piece]:
    """zero/stage3.py and zero/partition_parameters.py."""
    w = widths(settings, share)
    own = share.own_at_stage_3
    offload = settings.offload
    offloaded = offload.optimizer != "none"
    states_on: Place = "host" if offloaded else "device"
    weights_on: Place = "device" if offload.params == "none" else "host"
    group = min(settings.zero.sub_group_size or 1_000_000_000, own)
    # _create_fp16_partitions_with_defragmentation: pinned whatever is asked for. Of the optimizer's,
    # the gradients are, those in fp32 a sub-group at a time; master weights and moments are not.
    weights = [flat("parameters", "always", own * w.weight, weights_on)]
    gradients = [flat("gradients", "always", own * w.gradient, states_on)]
    pinned = is_pinned(settings, "optimizer")
    pieces = [
        *(weights if offload.params == "none" else page_locked(weights)),
        *(page_locked(gradients) if pinned else gradients),
    ]
    on_host = _offloaded_share(settings, own, group) if offloaded else 0.0
    for place, part in ((states_on, on_host), ("device", 1.0 - on_host)):
        if part > 0:
            # _create_fp32_partitions means to let fp32 weights be their own master, but compares a
            # torch.device with a string: there is always a copy (run).
            gradient = w.master if offloaded else 0  # initialize_optimizer_states
            pieces += [
                flat("master weights", "always", own * part * w.master, place),
                flat("optimizer states", "always", own * part * w.states, place),
            ]
            summed = [flat("gradients", "always", own * part * gradient, place)]
            in_blocks = pinned and place == "host"
            pieces += page_locked(summed, group * gradient) if in_blocks else summed
    if not offloaded:
        converted = w.master if w.gradient != w.master else 0
        pieces.append(flat("gradients", "step", group * (w.gradient + converted)))
        pieces.append(flat("workspace", "step", group * w.update))
    pieces += _second_copy(settings, share, w, weights_on)
    at_norm = min(share.largest_parameter / share.zero_ranks, 250_000_000) * NORM_BYTES
    pieces.append(flat("workspace", "reduce" if offloaded else "step", at_norm))
    return pieces + _gathered(settings, share, w) + _reduction(settings, share, w)


def _second_copy(settings: Settings, share: Share, w: Widths, place: Place) -> list[Piece]:
    """partition_parameters.py, _partition_param_sec: ``ds_secondary_tensor``, where weights are kept.

    Of each parameter what one rank of an hpZ group has of it, in the model's dtype. It is made where
    the parameter is let go in the forward pass, and goes when the optimizer's step has ended.
    """
    ranks = settings.zero.hpz_partition_size or 1
    if ranks == 1:
        return []
    return of_parameters("parameters", "always", share.sizes, w.weight / ranks, place)


def _offloaded_share(settings: Settings, own: float, group: float) -> float:
    """Twin-Flow moves whole sub-groups: those from int((1 - ratio) * groups) on."""
    ratio = settings.offload.optimizer_ratio
    groups = max(round(own / group), 1)
    return 1.0 - int((1.0 - (1.0 if ratio is None else ratio)) * groups) / groups


def _gathered(settings: Settings, share: Share, w: Widths) -> list[Piece]:
    """Whole parameters: small ones always, the others from their forward to their backward pass."""
    elsewhere = settings.offload.params != "none" and settings.hardware.accelerator == "cuda"
    # zero.Init cuts over all ranks before AutoTP comes, and what is cut is gathered (run).
    if share.zero_ranks == 1 and share.tensor_ranks == 1 and not elsewhere:
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
        pieces += of_parameters("parameters", phase, rest, w.weight * part)
        if settings.hardware.accelerator == "cpu":
            # gloo gathers into a copy, and so does all_gather_coalesced.
            largest = ((max((numel for numel, _ in rest), default=0), 1),)
            pieces += of_parameters("buckets and communication", phase, largest, w.weight)
        if zero.quantized_weights:
            # What is fetched in one go is there in 8 bits too until it has been widened; partitions
            # and what has been gathered stay in 16 (AllGatherCoalescedHandle.wait).
            fetched = min(max(ahead, share.largest_parameter), whole)
            pieces.append(flat("buckets and communication", phase, fetched))
    return pieces


def _own(value: int | None, deepspeeds: int) -> int:
    return deepspeeds if value is None else value


def _reduction(settings: Settings, share: Share, w: Widths) -> list[Piece]:
    """The bucket is there from the start; reduce_scatter_coalesced puts a copy of it in order."""
    zero = settings.zero
    bucket = zero.reduce_bucket_size or BUCKET
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
        # It is reduced alone, where it is: what is copied of it is what is sent.
        alone = w.weight + converted
        if settings.hardware.accelerator == "cpu":
            alone += w.sent
        pieces += of_parameters("gradients", "reduce", ((share.largest_parameter, 1),), alone)
    return pieces
