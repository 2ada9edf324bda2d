"""The smallest changes of settings with which a training fits the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeAlias

from sweeper.core.ladders import Change, ladders
from sweeper.core.plan import acts
from sweeper.core.settings import Settings, with_values

_SHORTEST_SEQUENCE = 64  # tokens; less is no use to propose
MOST_CHANGES = 5  # changes in one answer; more are no small change


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What one rank needs, the chance that there is so much, and whether that chance is enough.

    ``host_bytes`` is what the ranks of a node need beside the devices whose limit counts, ``fullness``
    what is needed of the memory that is shortest, device or host, as a share of what there is.
    """

    mean_bytes: float
    host_bytes: int
    probability: float
    enough: bool
    fullness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Changes that are enough together, and no longer when one of them is left out."""

    changes: tuple[Change, ...]
    settings: Settings
    fit: Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answers, and of all that was tried what needs least of what is short, where anything is known of it."""

    answers: tuple[Answer, ...]
    closest: Answer | None


# None where the settings are not allowed together, or where nothing is known of their need.
Need: TypeAlias = Callable[[Settings], Fit | None]


def sufficient_changes(settings: Settings, need: Need) -> Found:
    """Minimal sets of changes that are enough: single ones, then pairs, each the cheapest first.

    More than two together only where fewer are not enough. No answer where nothing helps.
    """
    rungs = [rung for rung in ladders(settings) if rung]
    found: list[Answer] = []
    closest: Answer | None = None
    for num_changes in range(1, min(len(rungs), MOST_CHANGES) + 1):
        if found and num_changes > 2:
            break
        enough: list[Answer] = []
        for changes in _sets(rungs, num_changes):
            if any(_goes_as_far(changes, known.changes) for known in (*found, *enough)):
                continue
            answer = _tried(settings, need, changes)
            if answer is None:
                continue
            if answer.fit.enough:
                enough.append(answer)
            if closest is None or answer.fit.fullness < closest.fit.fullness:
                closest = answer
        found += sorted(enough, key=_costs)
    return Found(answers=tuple(found), closest=closest)


def shorter_sequence(settings: Settings, need: Need) -> Answer | None:
    """The longest half, quarter, ... of the sequence that is enough, where any is."""
    length = settings.workload.sequence_length // 2
    while length >= _SHORTEST_SEQUENCE:
        name = "workload.sequence_length"
        change = Change(
            ladder=name, step=1, typed=f"{name}={length}", values={name: length}, cost=0.0
        )
        answer = _tried(settings, need, (change,))
        if answer is not None and answer.fit.enough:
            return answer
        length //= 2
    return None


def sufficient_limit(settings: Settings, name: str, need: Need) -> Answer | None:
    """The smallest round size of the setting ``name`` with which these settings are enough as they are."""
    for num_bytes in round_sizes():
        size = f"{num_bytes / 2**30:g}GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:g}MiB"
        change = Change(ladder=name, step=1, typed=f"{name}={size}", values={name: size}, cost=0.0)
        answer = _tried(settings, need, (change,))
        if answer is not None and answer.fit.enough:
            return answer
    return None


def round_sizes() -> Iterator[int]:
    """From 64 MiB to 64 TiB, eight to each doubling."""
    for doubling in range(20):
        yield from (eighth * 2 ** (23 + doubling) for eighth in range(8, 16))


def largest_micro_size(settings: Settings, need: Need) -> int | None:
    """The largest micro-batch that is enough too; None where that is no larger than this one."""
    samples_of_a_rank = settings.workload.global_batch_size // max(settings.data_parallel, 1)
    for size in range(samples_of_a_rank, settings.batch.micro_size, -1):
        if samples_of_a_rank % size == 0:
            fit = need(with_values(settings, {"batch.micro_size": size}))
            if fit is not None and fit.enough:
                return size
    return None


def _tried(settings: Settings, need: Need, changes: tuple[Change, ...]) -> Answer | None:
    changed = settings
    for change in changes:
        changed = with_values(changed, change.values)
    if not all(acts(changed, change.ladder) for change in changes):
        return None
    fit = need(changed)
    return None if fit is None else Answer(changes=changes, settings=changed, fit=fit)


def _sets(rungs: Sequence[Sequence[Change]], num_changes: int) -> Iterator[tuple[Change, ...]]:
    """Of one rung from each ladder, those with small steps first; no two set the same setting."""
    sets = (
        chosen
        for some in combinations(rungs, num_changes)
        if _are_disjoint(some)
        for chosen in product(*some)
    )
    return iter(sorted(sets, key=lambda chosen: sum(change.step for change in chosen)))


def _are_disjoint(some: Sequence[Sequence[Change]]) -> bool:
    names = [name for ladder in some for name in ladder[0].values]
    return len(names) == len(set(names))


def _goes_as_far(changes: Sequence[Change], known: Sequence[Change]) -> bool:
    """Whether ``changes`` holds every change of ``known``, or a larger one of its ladder."""
    return all(
        any(change.ladder == other.ladder and change.step >= other.step for change in changes)
        for other in known
    )


def _costs(answer: Answer) -> list[float]:
    """Sets compare by their dearest change, then by the next one."""
    return sorted((change.cost for change in answer.changes), reverse=True)
