"""The memory of one rank as a table: each component at the peak, and where it is largest itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from sweeper.core.memory.model import COMPONENTS, MemoryNeed, Phases
from sweeper.core.memory.pieces import Phase
from sweeper.hydra_edge.plain_text import size

_ByPhase: TypeAlias = Mapping[Phase, Mapping[str, int]]

_ACTIVATIONS = "activations"
_WHEN: Mapping[Phase, str] = {
    "forward": "at the loss",
    "backward": "in the backward pass",
    "embedding": "at the backward pass's end",
    "reduce": "while gradients are reduced",
    "step": "in the optimizer's step",
}
_ALWAYS = "always"
_NAME, _CELL = 28, 10


def memory_tables(need: MemoryNeed, phases: Phases, recomputed: Mapping[str, Phases]) -> str:
    """Of the device and of the host, of which each has a peak of its own; of both where they are one."""
    others = {typed: _counted(there) for typed, there in recomputed.items()}
    if phases.device is None:
        untouched = ("allocated, never touched", need.untouched_bytes)
        return "\n".join(_table("memory of one rank", phases.host, others, untouched))
    on_device = _table("device of one rank", phases.device, others)
    return "\n".join([*on_device, "", *_table("host of one rank", phases.host, {})])


def _counted(phases: Phases) -> _ByPhase:
    return phases.host if phases.device is None else phases.device


def _table(
    title: str,
    phases: _ByPhase,
    recomputed: Mapping[str, _ByPhase],
    beside: tuple[str, int] | None = None,
) -> Iterator[str]:
    """``recomputed`` has rows below the activations, ``beside`` one that is there in every phase."""
    peak = max(phases, key=lambda phase: sum(phases[phase].values()))
    totals = {phase: {"total": sum(there.values())} for phase, there in phases.items()}
    total, when = _largest(totals, "total")
    yield f"{title:{_NAME}}{'at peak':>{_CELL}}  {'at most':>{_CELL}}  when"
    for name in COMPONENTS:
        if not _largest(phases, name)[0]:
            continue
        yield _row(name, phases[peak].get(name, 0), *_largest(phases, name))
        if name == _ACTIVATIONS:
            for typed, there in recomputed.items():
                yield _row(f"  {typed}", None, *_largest(there, name))
    if beside:
        yield _row(beside[0], beside[1], beside[1], _ALWAYS)
        total += beside[1]
    yield "-" * (_NAME + 2 * _CELL + 4 + len(_ALWAYS))
    yield f"{'total':{_NAME}}{size(total):>{_CELL}}  {'':{_CELL}}  {when}"


def _row(name: str, at_peak: int | None, at_most: int, when: str) -> str:
    there = "" if at_peak is None else size(at_peak) if at_peak else "-"
    return f"{name:{_NAME}}{there:>{_CELL}}  {size(at_most):>{_CELL}}  {when}"


def _largest(phases: _ByPhase, name: str) -> tuple[int, str]:
    sizes = {phase: there.get(name, 0) for phase, there in phases.items()}
    phase = max(sizes, key=lambda p: sizes[p])
    return sizes[phase], _ALWAYS if len(set(sizes.values())) == 1 else _WHEN[phase]
