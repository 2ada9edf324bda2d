"""The changes of one setting, or of two, with which a layout that the plan forbids is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TypeAlias

from sweeper.core.ladders import SPLITS, Change, with_ranks
from sweeper.core.settings import Scalar, Settings, with_values

_DEGREES = (1, 2, 4)


def nearest_layouts(
    settings: Settings, refusals: Callable[[Settings], int]
) -> tuple[tuple[Change, ...], ...]:
    """For each setting that can do it alone its nearest value, else for each two that can together:
    what keeps the training comes first, other hardware last. Nothing where none of them can.

    ``refusals`` is how much is against settings: 0 where they are allowed.
    """
    kinds = (_micro_sizes, _stages, _splits, _global_batches, _ranks)
    for num_changes in (1, 2):
        found = [
            nearest
            for chosen in combinations(kinds, num_changes)
            if (nearest := next(_allowed(settings, chosen, refusals), None))
        ]
        if found:
            return tuple(found)
    return ()


_Kind: TypeAlias = Callable[[Settings], Iterator[Change]]


def _allowed(
    settings: Settings, kinds: Sequence[_Kind], refusals: Callable[[Settings], int]
) -> Iterator[tuple[Change, ...]]:
    """A change of each kind, of which each takes something away that is against the settings."""
    kind, *others = kinds
    before = refusals(settings)
    for change in kind(settings):
        changed = with_values(settings, change.values)
        left = refusals(changed)
        if others and 0 < left < before:
            yield from ((change, *more) for more in _allowed(changed, others, refusals))
        elif not others and left == 0:
            yield (change,)


def _change(name: str, value: Scalar) -> Change:
    return Change(ladder=name, step=1, typed=f"{name}={value}", values={name: value}, cost=0.0)


def _micro_sizes(settings: Settings) -> Iterator[Change]:
    now = settings.batch.micro_size
    samples = settings.workload.global_batch_size // max(settings.data_parallel, 1)
    sizes = (n for n in range(1, samples + 1) if samples % n == 0 and n != now)
    for size in sorted(sizes, key=lambda n: (max(n / now, now / n), n)):
        yield _change("batch.micro_size", size)


def _stages(settings: Settings) -> Iterator[Change]:
    now = settings.zero.stage
    for stage in sorted({1, 2, 3} - {now}, key=lambda n: (abs(n - now), n)):
        yield Change(
            ladder="zero",
            step=1,
            typed=f"zero=stage{stage}",
            values={"zero.stage": stage},
            cost=0.0,
        )


def _splits(settings: Settings) -> Iterator[Change]:
    """As many ranks that share the model in another way, else fewer."""
    degrees = {kind: getattr(settings.parallel, kind) for kind in SPLITS}
    most = max(degrees.values())
    for degree in sorted((n for n in _DEGREES if n <= most), reverse=True):
        for kind in SPLITS:
            values: dict[str, Scalar] = {
                f"parallel.{name}": degree if name == kind else 1 for name in SPLITS
            }
            option = "data" if degree == 1 else f"{kind}{degree}"
            if any(degrees[name] != values[f"parallel.{name}"] for name in SPLITS):
                yield Change(
                    ladder="parallel", step=1, typed=f"parallel={option}", values=values, cost=0.0
                )


def _global_batches(settings: Settings) -> Iterator[Change]:
    now = settings.workload.global_batch_size
    unit = settings.batch.micro_size * max(settings.data_parallel, 1)
    multiples = (n for n in (now // unit * unit, (now // unit + 1) * unit) if n and n != now)
    for size in sorted(multiples, key=lambda n: abs(n - now)):
        yield _change("workload.global_batch_size", size)


def _ranks(settings: Settings) -> Iterator[Change]:
    now, degrees = settings.hardware.ranks, settings.parallel
    each = degrees.tensor * degrees.pipeline * degrees.sequence
    most = settings.workload.global_batch_size // settings.batch.micro_size * each  # a sample each
    for ranks in sorted(range(1, min(2 * now, most) + 1), key=lambda n: abs(n - now)):
        if ranks != now:
            change = _change("hardware.ranks", ranks)
            yield replace(change, values=with_ranks(settings, ranks))
