"""The changes of settings that save memory, in ladders from the smallest to the largest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sweeper.core.settings import OffloadSettings, Scalar, Settings, setting_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """``typed`` is an option, or the value that it stands for; ``values`` is what it sets.

    Changes of one ``ladder`` exclude each other; a higher ``step`` saves more. ``cost`` orders them.
    """

    ladder: str
    step: int
    typed: str
    values: Mapping[str, Scalar]
    cost: float


# Ladders of their own: beside the ones up to the host, the ones down from it.
LESS_OFFLOAD = "less offload"
ON_DEVICE = "checkpoints on the device"
# What each change costs in speed. Only the order means something, and it is that of practice:
#   0 what comes back from the host saves a way over the bus; where the devices have the room for it
#   1 a smaller micro-batch moves the same data in more, less busy kernels; a little at each halving
#   2 ZeRO-1 sends as much as data parallelism does, and updates a shard instead of everything
#   3 ZeRO-2 reduces gradients to their owners micro-batch by micro-batch
# 3.5 smaller buckets reduce the gradients in more calls, and less of that beside the backward pass
#   4 16 bits are faster, but they train differently: not to be proposed before what does not
#   5 checkpointing recomputes the forward pass: up to a third more work, half of it in every second
# 6.5 ZeRO-3 gathers once more what it would keep from the forward pass to the backward pass
#   7 ZeRO-3 gathers each parameter twice in a micro-step: half as much traffic again, and latency
#   8 ranks that share a model wait for each other: experts in the mixtures' layers, sequences in
#     each attention, stages at both ends of a batch, tensors twice in each block and pass
#  12 the CPU's Adam waits for gradients over the bus, and the step for the CPU's Adam
# 12.5 copies from memory that is not page-locked are slower, and waited for
#  13 checkpoints over the bus in each micro-step
#  14 and each parameter over the bus, in each micro-step
#  15 more devices are faster; but they have to be there, or bought
_COST = {
    f"{LESS_OFFLOAD}=optimizer": 0.1,
    f"{LESS_OFFLOAD}=none": 0.2,
    f"{ON_DEVICE}=full": 0.3,
    "batch.micro_size": 1.0,
    "zero=stage1": 2.0,
    "zero=stage2": 3.0,
    "zero.reduce_bucket_size": 3.5,
    "precision=bf16": 4.0,
    "checkpointing=every_second": 5.0,
    "checkpointing=full": 6.0,
    "zero.stage3_max_reuse_distance": 6.5,
    "zero=stage3": 7.0,
    "parallel=expert": 8.0,
    "parallel=sequence": 9.0,
    "parallel=pipeline": 10.0,
    "parallel=tensor": 11.0,
    "offload=optimizer": 12.0,
    "offload.pin_memory=false": 12.5,
    "checkpointing=full_on_cpu": 13.0,
    "offload=optimizer_and_params": 14.0,
    "hardware.ranks": 15.0,
}
_HALVING = 0.01  # what a further step on a ladder of numbers adds
# Elements; smaller ones are all calls.
_SIZES = {
    "zero.reduce_bucket_size": (50_000_000, 5_000_000),
    "zero.stage3_max_reuse_distance": (100_000_000,),
}
_MORE_RANKS = (2, 4, 8)  # times as many
_DEGREES = (2, 4)  # those that conf/parallel/ has options for
SPLITS = ("expert", "sequence", "pipeline", "tensor")


def _checkpoints(every_nth_block: int, *, on_cpu: bool = False) -> Mapping[str, Scalar]:
    return {"checkpointing.every_nth_block": every_nth_block, "checkpointing.on_cpu": on_cpu}


CHECKPOINTING = {
    "checkpointing=none": _checkpoints(0),
    "checkpointing=every_second": _checkpoints(2),
    "checkpointing=full": _checkpoints(1),
}


def ladders(settings: Settings) -> tuple[tuple[Change, ...], ...]:
    """The changes that save memory from here, each ladder from the smallest to the largest.

    Whether they are allowed here only the plan can tell.
    """
    return (
        _smaller_micro_batches(settings),
        _higher_stages(settings),
        *(_smaller_sizes(settings, name) for name in _SIZES),
        _sixteen_bits(settings),
        _checkpointing(settings),
        *(_split(settings, kind) for kind in SPLITS),
        _offload(settings),
        *_less_on_the_host(settings),
        _more_ranks(settings),
    )


def _smaller_micro_batches(settings: Settings) -> tuple[Change, ...]:
    sizes = []
    size = settings.batch.micro_size
    while size > 1:
        size //= 2
        sizes.append(size)
    return _numbers("batch.micro_size", sizes)


def _smaller_sizes(settings: Settings, name: str) -> tuple[Change, ...]:
    """Whatever the stage is: beside a higher one they may act."""
    given = getattr(settings.zero, name.removeprefix("zero."))
    now = setting_names()[name]["own"] if given is None else given
    return _numbers(name, [size for size in _SIZES[name] if size < now])


def _more_ranks(settings: Settings) -> tuple[Change, ...]:
    if settings.hardware.accelerator == "cpu":  # they would share one memory
        return ()
    now = settings.hardware.ranks
    steps = _numbers("hardware.ranks", [now * n for n in _MORE_RANKS])
    return tuple(
        replace(step, values=with_ranks(settings, now * n))
        for step, n in zip(steps, _MORE_RANKS, strict=True)
    )


def with_ranks(settings: Settings, ranks: int) -> Mapping[str, Scalar]:
    """What so many ranks set: hpZ's copy grows with its node's, as zero=stage3_hpz has it."""
    hardware, hpz = settings.hardware, settings.zero.hpz_partition_size
    grown = replace(hardware, ranks=ranks).ranks_on_node
    follows = hpz == hardware.ranks_on_node
    return {"hardware.ranks": ranks, **({"zero.hpz_partition_size": grown} if follows else {})}


def _numbers(name: str, sizes: Sequence[int]) -> tuple[Change, ...]:
    return tuple(
        Change(
            ladder=name,
            step=step,
            typed=f"{name}={size}",
            values={name: size},
            cost=_COST[name] + _HALVING * step,
        )
        for step, size in enumerate(sizes, start=1)
    )


def _split(settings: Settings, kind: str) -> tuple[Change, ...]:
    """More ranks that share the model in this way, in place of any other."""
    degrees = [n for n in _DEGREES if n > getattr(settings.parallel, kind)]
    cost = _COST[f"parallel={kind}"]
    return tuple(
        Change(
            ladder=f"parallel.{kind}",
            step=step,
            typed=f"parallel={kind}{degree}",
            values={f"parallel.{name}": degree if name == kind else 1 for name in SPLITS},
            cost=cost + _HALVING * step,
        )
        for step, degree in enumerate(degrees, start=1)
    )


def _options(
    group: str, options: Mapping[str, Mapping[str, Scalar]], ladder: str | None = None
) -> tuple[Change, ...]:
    return tuple(
        Change(
            ladder=ladder or group,
            step=step,
            typed=f"{group}={option}",
            values=values,
            cost=_COST[f"{ladder or group}={option}"],
        )
        for step, (option, values) in enumerate(options.items(), start=1)
    )


def _higher_stages(settings: Settings) -> tuple[Change, ...]:
    stages = range(settings.zero.stage + 1, 4)
    return _options("zero", {f"stage{stage}": {"zero.stage": stage} for stage in stages})


def _sixteen_bits(settings: Settings) -> tuple[Change, ...]:
    if settings.precision.mode in ("bf16", "fp16"):
        return ()
    return _options("precision", {"bf16": {"precision.mode": "bf16"}})


def _checkpointing(settings: Settings) -> tuple[Change, ...]:
    now = settings.checkpointing
    options: dict[str, Mapping[str, Scalar]] = {}
    if now.every_nth_block == 0:
        options["every_second"] = CHECKPOINTING["checkpointing=every_second"]
    if now.every_nth_block != 1:
        options["full"] = CHECKPOINTING["checkpointing=full"]
    if settings.hardware.accelerator != "cpu" and not (now.every_nth_block == 1 and now.on_cpu):
        options["full_on_cpu"] = _checkpoints(1, on_cpu=True)
    return _options("checkpointing", options)


def _offload(settings: Settings) -> tuple[Change, ...]:
    """To host memory; not to NVMe, which needs a drive that is not ours to name."""
    now = settings.offload
    unsaid = _unsaid(now)
    options: dict[str, Mapping[str, Scalar]] = {}
    if now.params == "none" and (now.optimizer == "none" or now.optimizer_ratio is not None):
        options["optimizer"] = {"offload.optimizer": "cpu", **unsaid}
    if now.optimizer != "nvme" and "none" in (now.optimizer, now.params):
        options["optimizer_and_params"] = {
            "offload.optimizer": "cpu",
            "offload.params": "cpu",
            **unsaid,
        }
    return _options("offload", options)


def _less_on_the_host(settings: Settings) -> Iterator[tuple[Change, ...]]:
    """What takes host memory back, where that is what is short; on the CPU there is no other."""
    if settings.hardware.accelerator == "cpu":
        return
    offload, checkpoints = settings.offload, settings.checkpointing
    options: dict[str, Mapping[str, Scalar]] = {}
    if offload.optimizer == "cpu" and offload.params == "cpu":
        options["optimizer"] = {"offload.params": "none"}
    if "cpu" in (offload.optimizer, offload.params):
        options["none"] = {
            "offload.optimizer": "none",
            "offload.params": "none",
            **_unsaid(offload),
        }
    yield _options("offload", options, LESS_OFFLOAD)
    if options and offload.pin_memory is not False:
        yield _options("offload.pin_memory", {"false": {"offload.pin_memory": False}})
    if checkpoints.every_nth_block and checkpoints.on_cpu:
        on_device = _checkpoints(1)
        yield _options("checkpointing", {"full": on_device}, ON_DEVICE)


def _unsaid(offload: OffloadSettings) -> dict[str, Scalar]:
    """The options say nothing of these, so that they take them back."""
    return {
        f"offload.{name}": None
        for name in ("optimizer_ratio", "super_offload")
        if getattr(offload, name) is not None
    }
