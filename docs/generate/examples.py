"""For each rule the fewest settings that it is told of, found by trying: what is shown is the code's own answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any, TypeAlias

from docs.generate.composed import settings
from sweeper.core.machine import Machine
from sweeper.core.outcome import Infeasible, Unsupported, reason_of
from sweeper.core.plan import plan
from sweeper.core.rules import FORBIDDEN, NEEDS
from sweeper.core.settings import HUGGING_FACE, Settings, setting_names, with_values

_GROUPS = ("zero", "offload", "precision", "compile", "parallel", "optimizer")
_MORE: dict[str, tuple[Any, ...]] = {
    "hardware.ranks": (2, 4),
    "offload.nvme_path": ("/mnt/nvme",),
    "hardware.accelerator": ("cuda",),
    "workload.sequence_length": (4096,),
    "batch.micro_size": (3,),
    "script.sums_gradients_at": ("1,2",),
}
_MODELS: dict[str, dict[str, Any]] = {"hf": {"_target_": HUGGING_FACE}, "moe-nano": {"experts": 4}}
_PLENTY = Machine(cores=8, host_memory_bytes=2**40)
_POOR = Machine(cores=8, host_memory_bytes=2**40, devices=1, fp16=False, bf16=False, libaio=False)

# A setting and its value, or "+model" and a preset.
Change: TypeAlias = tuple[str, Any]


def examples() -> dict[str, tuple[tuple[Change, ...], str]]:
    """By the rule's id: changes to a plain trial, and what is then said. Raises LookupError."""
    found: dict[str, tuple[tuple[Change, ...], str]] = {}
    wanted = {*(rule.id for rule in FORBIDDEN), *(need.id for need in NEEDS)}
    base = settings()
    for changes in _changes():
        if len({name for name, _ in changes}) == len(changes):
            told = _told(_with(base, changes), wanted)
            for id, reason in told:
                found[id] = changes, reason
                wanted.remove(id)
        if not wanted:
            return found
    raise LookupError(f"no example was found of {', '.join(sorted(wanted))}: extend this search")


def _told(changed: Settings, wanted: Iterable[str]) -> list[tuple[str, str]]:
    """The rule that the plan names, where it is one of those wanted."""
    forbidden = next((rule for rule in FORBIDDEN if rule.applies(changed)), None)
    lacking = [need for need in NEEDS if need.lacks(changed, _POOR)]
    named = [need.id for need in lacking] + ([forbidden.id] if forbidden else [])
    if not set(named) & set(wanted):
        return []
    told = []
    for machine in (_PLENTY, _POOR):
        ready = plan(changed, machine).ready
        if isinstance(ready, Infeasible) and ready.rule in wanted:
            told.append((ready.rule, ready.reason))
        elif isinstance(ready, Unsupported):
            same = (n.id for n in lacking if n.reason(changed, machine) == reason_of(ready))
            told += [(id, ready.reason) for id in same if id in wanted]
    return list(dict(told).items())


def _with(base: Settings, changes: tuple[Change, ...]) -> Settings:
    for name, value in changes:
        if name == "+model":
            base = replace(base, model={**base.model, **_MODELS[value]})
        else:
            base = with_values(base, {name: value})
    return base


def _changes() -> Iterator[tuple[Change, ...]]:
    """The fewest first; of more than two such as begin with what most rules ask of."""
    single = list(_single())
    for count in (1, 2):
        yield from combinations(single, count)
    ranks = [("hardware.ranks", ranks) for ranks in (2, 4)]
    drive = [("offload.nvme_path", "/mnt/nvme")]
    stages = [("zero.stage", stage) for stage in (3, 2, 1)]
    modes = [("precision.mode", "bf16")]
    for asked in (
        [stages],
        [modes],
        [ranks],
        [drive, stages],
        [ranks, stages],
        [ranks, stages, modes],
    ):
        for begun, pair in product(product(*asked), combinations(single, 2)):
            yield (*begun, *pair)


def _single() -> Iterator[Change]:
    for name, about in setting_names().items():
        ours = _values(about) if name.partition(".")[0] in _GROUPS else ()
        for value in (*ours, *_MORE.get(name, ())):
            yield name, value
    for preset in _MODELS:
        yield "+model", preset


def _values(about: Any) -> tuple[Any, ...]:
    """A few that a rule may look for."""
    if about.get("choices"):
        return tuple(about["choices"])
    if about["type"] in (bool, bool | None):
        return (True, False)
    if about.get("minimum") is not None and about["type"] in (int, int | None):
        return (2, 3)
    return (0.5,) if about.get("maximum") else ()
