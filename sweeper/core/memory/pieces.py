"""The pieces that a rank's memory is made of, and how much of them is there at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Place: TypeAlias = Literal["device", "host"]
Phase: TypeAlias = Literal["always", "build", "forward", "backward", "embedding", "reduce", "step"]
Sizes: TypeAlias = tuple[tuple[int, int], ...]

# What glibc serves from its heap under the trials' own settings (run/launch.py): freed blocks of
# this size go back to the kernel, smaller ones stay resident for the next that needs room.
HEAP_BLOCK_BYTES = 32 * 2**20
PAGE_LOCKED_ROUNDING = "page-locked rounding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """``bytes`` are allocated and, unless ``touched`` says less, written to in ``phase``.

    ``on_heap``: made of blocks so small that the C library keeps what is freed of them.
    ``page_locked``: bytes of each block that torch allocates of it with ``pin_memory``; None: of none.
    """

    component: str
    phase: Phase
    bytes: float
    touched: float | None = None
    place: Place = "device"
    on_heap: bool = False
    page_locked: float | None = None

    @property
    def resident(self) -> float:
        return self.bytes if self.touched is None else min(self.touched, self.bytes)

    def on(self, place: Place) -> Piece:
        return replace(self, place=place)


def of_parameters(
    component: str, phase: Phase, sizes: Sizes, element_bytes: float, place: Place = "device"
) -> list[Piece]:
    """One block for each parameter, as gradients and states have that are not flattened."""
    heap = large = 0.0
    for numel, count in sizes:
        if numel * element_bytes < HEAP_BLOCK_BYTES:
            heap += numel * count * element_bytes
        else:
            large += numel * count * element_bytes
    common = {"component": component, "phase": phase, "place": place}
    return [
        Piece(**common, bytes=heap, on_heap=True),  # type: ignore[arg-type]
        Piece(**common, bytes=large),  # type: ignore[arg-type]
    ]


def flat(component: str, phase: Phase, size: float, place: Place = "device") -> Piece:
    """One block of ``size`` bytes."""
    return Piece(
        component=component,
        phase=phase,
        bytes=size,
        place=place,
        on_heap=size < HEAP_BLOCK_BYTES,
    )


def page_locked(pieces: Iterable[Piece], block_bytes: float | None = None) -> list[Piece]:
    """The same in page-locked blocks: of ``block_bytes``, of a piece that is less in one."""
    return [replace(piece, page_locked=block_bytes or piece.bytes) for piece in pieces]


def page_locked_rounding(pieces: Iterable[Piece]) -> list[Piece]:
    """What torch's caching host allocator takes beyond what was asked for: up to as much again.

    ATen/core/CachingHostAllocator.h, ``allocate``: each block is PowerOf2Ceil(size) bytes, unless
    pinned_max_round_threshold_mb or pinned_max_cached_size_mb, which are unlimited, say otherwise.
    """
    return [
        Piece(component=PAGE_LOCKED_ROUNDING, phase=p.phase, bytes=extra, place=p.place)
        for p in pieces
        if p.page_locked and (extra := _rounded_up(p.bytes, p.page_locked) - p.bytes) > 0
    ]


def _rounded_up(size: float, block_bytes: float) -> float:
    whole = int(size // block_bytes)
    return whole * _power_of_two(block_bytes) + _power_of_two(size - whole * block_bytes)


def _power_of_two(size: float) -> float:
    """The next one; 0 of what is less than a byte."""
    return 0.0 if size < 1.0 else 2.0 ** math.ceil(math.log2(size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """``device`` and ``host`` are components in the phase that needs most; bytes that are there.

    ``untouched`` is what is allocated at most beyond what is written to.
    """

    device: Mapping[str, float]
    host: Mapping[str, float]
    untouched: float


def peak_of_device(pieces: Iterable[Piece]) -> Peak:
    """Where allocated is what counts, and what is freed is at once used again."""
    known = list(pieces)
    return Peak(
        device=_at(known, _largest_phase(known, "device"), "device"),
        host=_at(known, _largest_phase(known, "host"), "host"),
        untouched=0.0,
    )


def peak_of_process(pieces: Iterable[Piece], *, fragmentation: float = 1.0) -> Peak:
    """Where device and host are one memory and resident is what counts."""
    known = list(pieces)
    there = _resident(known, fragmentation)
    phase = max(there.blocks, key=lambda name: (there.blocks[name], there.heaps[name]))
    allocated = max(_sum(known, name) for name in there.heaps)
    return Peak(
        device=there.device(phase),
        host=_at(there.touched, phase, "host"),
        untouched=max(allocated - sum(p.bytes for p in there.touched if _is_in(p, phase)), 0.0),
    )


def phases_of_device(pieces: Iterable[Piece], place: Place) -> dict[Phase, dict[str, float]]:
    """The components in each phase, where allocated is what counts."""
    known = list(pieces)
    return {phase: _at(known, phase, place) for phase in _phases(known)}


def phases_of_process(
    pieces: Iterable[Piece], *, fragmentation: float = 1.0
) -> dict[Phase, dict[str, float]]:
    """The components in each phase of a step, where device and host are one memory."""
    there = _resident(list(pieces), fragmentation)
    return {
        phase: _together(there.device(phase), _at(there.touched, phase, "host"))
        for phase in there.heaps
        if phase != "build"
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resident:
    """Bytes that are written to, on the heap and in larger blocks by phase, and the heap's size."""

    touched: list[Piece]
    heaps: Mapping[Phase, float]
    blocks: Mapping[Phase, float]
    heap_bytes: float

    def device(self, phase: Phase) -> dict[str, float]:
        """What the heap keeps of other phases is workspace."""
        return _together(
            _at(self.touched, phase, "device"), {"workspace": self.heap_bytes - self.heaps[phase]}
        )


def _resident(known: list[Piece], fragmentation: float) -> _Resident:
    """Every phase comes again in each step, so the heap is as large as the phase that needs most of
    it made it, while larger blocks are there only in their own phase. What comes and goes in a step
    takes ``fragmentation`` times its bytes there.
    """
    touched = [replace(p, bytes=p.resident) for p in known]
    heaps = {phase: _sum(touched, phase, on_heap=True) for phase in _phases(touched)}
    lasting = sum(p.bytes for p in touched if p.phase == "always" and p.on_heap)
    coming = max(heap for name, heap in heaps.items() if name != "build") - lasting
    return _Resident(
        touched=touched,
        heaps=heaps,
        blocks={phase: _sum(touched, phase, on_heap=False) for phase in heaps},
        heap_bytes=max(lasting + fragmentation * coming, heaps.get("build", 0.0)),
    )


def _together(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _phases(pieces: list[Piece]) -> list[Phase]:
    return list({p.phase: None for p in pieces if p.phase != "always"}) or ["step"]


def _is_in(piece: Piece, phase: Phase) -> bool:
    return piece.phase in ("always", phase)


def _sum(pieces: list[Piece], phase: Phase, on_heap: bool | None = None) -> float:
    return sum(
        p.bytes for p in pieces if _is_in(p, phase) and (on_heap is None or p.on_heap == on_heap)
    )


def _largest_phase(pieces: list[Piece], place: Place) -> Phase:
    there = [p for p in pieces if p.place == place]
    return max(_phases(pieces), key=lambda phase: _sum(there, phase))


def _at(pieces: list[Piece], phase: Phase, place: Place) -> dict[str, float]:
    components: dict[str, float] = {}
    for piece in pieces:
        if piece.place == place and _is_in(piece, phase):
            components[piece.component] = components.get(piece.component, 0.0) + piece.bytes
    return components
