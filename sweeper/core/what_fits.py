"""The smallest changes of settings with which a training fits the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeAlias

from sweeper.core.settings import Scalar, Settings, with_values

_MOST_MEMBERS = 5  # changes in one answer; more are no small change


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What one rank needs, the chance that there is so much, and whether that chance is enough.

    ``host_bytes`` is what it needs beside the device whose limit counts.
    """

    mean_bytes: float
    host_bytes: int
    probability: float
    enough: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Changes that are enough together, and no longer when one of them is left out."""

    changes: tuple[Change, ...]
    settings: Settings
    fit: Fit


# None where the settings are not allowed together, or where nothing is known of their need.
Need: TypeAlias = Callable[[Settings], Fit | None]

# What each change costs in speed. Only the order means something, and it is that of practice:
#   1 a smaller micro-batch moves the same data in more, less busy kernels; a little at each halving
#   2 ZeRO-1 sends as much as data parallelism does, and updates a shard instead of everything
#   3 ZeRO-2 reduces gradients to their owners micro-batch by micro-batch
#   4 16 bits are faster, but they train differently: not to be proposed before what does not
#   5 checkpointing recomputes the forward pass: up to a third more work, half of it in every second
#   7 ZeRO-3 gathers each parameter twice in a micro-step: half as much traffic again, and latency
#   8 the CPU's Adam waits for gradients over the bus, and the step for the CPU's Adam
#   9 checkpoints over the bus in each micro-step
#  10 and each parameter over the bus, in each micro-step
#  11 more devices are faster; but they have to be there, or bought
_COST = {
    "batch.micro_size": 1.0,
    "zero=stage1": 2.0,
    "zero=stage2": 3.0,
    "precision=bf16": 4.0,
    "checkpointing=every_second": 5.0,
    "checkpointing=full": 6.0,
    "zero=stage3": 7.0,
    "offload=optimizer": 8.0,
    "checkpointing=full_on_cpu": 9.0,
    "offload=optimizer_and_params": 10.0,
    "hardware.ranks": 11.0,
}
_HALVING = 0.01  # what a further step on a ladder of numbers adds
_MORE_RANKS = (2, 4, 8)  # times as many


def sufficient_changes(settings: Settings, need: Need) -> tuple[Answer, ...]:
    """Minimal sets of changes that are enough: single ones, then pairs, each the cheapest first.

    More than two together only where fewer are not enough. Nothing where nothing helps.
    """
    rungs = [rung for rung in ladders(settings) if rung]
    found: list[Answer] = []
    for num_changes in range(1, min(len(rungs), _MOST_MEMBERS) + 1):
        if found and num_changes > 2:
            break
        found += sorted(_enough(settings, need, _sets(rungs, num_changes), found), key=_costs)
    return tuple(found)


def largest_micro_size(settings: Settings, need: Need) -> int | None:
    """The largest micro-batch that is enough too; None where that is no larger than this one."""
    samples_of_a_rank = settings.workload.global_batch_size // max(settings.data_parallel, 1)
    for size in range(samples_of_a_rank, settings.batch.micro_size, -1):
        if samples_of_a_rank % size == 0:
            fit = need(with_values(settings, {"batch.micro_size": size}))
            if fit is not None and fit.enough:
                return size
    return None


def ladders(settings: Settings) -> tuple[tuple[Change, ...], ...]:
    """The changes that save memory from here, each ladder from the smallest to the largest."""
    return (
        _smaller_micro_batches(settings),
        _higher_stages(settings),
        _sixteen_bits(settings),
        _checkpointing(settings),
        _offload(settings),
        _more_ranks(settings),
    )


def _enough(
    settings: Settings,
    need: Need,
    sets: Iterator[tuple[Change, ...]],
    smaller: Sequence[Answer],
) -> list[Answer]:
    """The sets that are enough and hold no other that is. Sets come with small steps first."""
    found: list[Answer] = []
    for changes in sets:
        if any(_goes_as_far(changes, known.changes) for known in (*smaller, *found)):
            continue
        changed = settings
        for change in changes:
            changed = with_values(changed, change.values)
        fit = need(changed)
        if fit is not None and fit.enough:
            found.append(Answer(changes=changes, settings=changed, fit=fit))
    return found


def _sets(rungs: Sequence[Sequence[Change]], num_changes: int) -> Iterator[tuple[Change, ...]]:
    sets = (chosen for some in combinations(rungs, num_changes) for chosen in product(*some))
    return iter(sorted(sets, key=lambda chosen: sum(change.step for change in chosen)))


def _goes_as_far(changes: Sequence[Change], known: Sequence[Change]) -> bool:
    """Whether ``changes`` holds every change of ``known``, or a larger one of its ladder."""
    return all(
        any(change.ladder == other.ladder and change.step >= other.step for change in changes)
        for other in known
    )


def _costs(answer: Answer) -> list[float]:
    """Sets compare by their dearest change, then by the next one."""
    return sorted((change.cost for change in answer.changes), reverse=True)


def _smaller_micro_batches(settings: Settings) -> tuple[Change, ...]:
    sizes = []
    size = settings.batch.micro_size
    while size > 1:
        size //= 2
        sizes.append(size)
    return _numbers("batch.micro_size", sizes)


def _more_ranks(settings: Settings) -> tuple[Change, ...]:
    if settings.hardware.accelerator == "cpu":  # they would share one memory
        return ()
    return _numbers("hardware.ranks", [settings.hardware.ranks * n for n in _MORE_RANKS])


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


def _options(group: str, options: Mapping[str, Mapping[str, Scalar]]) -> tuple[Change, ...]:
    return tuple(
        Change(
            ladder=group,
            step=step,
            typed=f"{group}={option}",
            values=values,
            cost=_COST[f"{group}={option}"],
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
        options["every_second"] = _checkpoints(2, on_cpu=False)
    if now.every_nth_block != 1:
        options["full"] = _checkpoints(1, on_cpu=False)
    if settings.hardware.accelerator != "cpu" and not (now.every_nth_block == 1 and now.on_cpu):
        options["full_on_cpu"] = _checkpoints(1, on_cpu=True)
    return _options("checkpointing", options)


def _checkpoints(every_nth_block: int, *, on_cpu: bool) -> Mapping[str, Scalar]:
    return {"checkpointing.every_nth_block": every_nth_block, "checkpointing.on_cpu": on_cpu}


def _offload(settings: Settings) -> tuple[Change, ...]:
    """To host memory; not to NVMe, which needs a drive that is not ours to name."""
    now = settings.offload
    # The options say nothing of these, so that they take them back.
    unsaid = {
        f"offload.{name}": None
        for name in ("optimizer_ratio", "super_offload")
        if getattr(now, name) is not None
    }
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
