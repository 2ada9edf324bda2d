"""An explanation as a person reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sweeper.core.memory.model import MemoryNeed
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.settings import Scalar, Settings
from sweeper.core.spec import TrialSpec
from sweeper.core.what_fits import Answer, Change
from sweeper.hydra_edge.explain import Explanation, Memory
from sweeper.hydra_edge.plain_text import (
    field,
    paragraph,
    percent,
    size,
    size_with_interval,
    table,
)

_MOST_ANSWERS = 6
_DEVIATIONS = 1.96  # on either side: 95 % of a normal distribution


def explanation_text(explanation: Explanation) -> str:
    """Model, plan, memory, verdict, what would make it fit, and the ds_config."""
    memory, ready = explanation.memory, explanation.plan.ready
    parts = ["\n".join(field(label, text) for label, text in _facts(explanation))]
    if explanation.profiled.profile is None:
        parts.append(paragraph(f"memory not known: {explanation.profiled.reason}"))
    if memory is not None:
        parts.append(_components(memory.need))
        parts.append("\n".join(map(paragraph, _verdict(memory, explanation))))
    parts.append("\n".join(_advice(explanation)))
    if isinstance(ready, TrialSpec):
        parts.append(f"ds_config.json\n{json.dumps(ready.ds_config, indent=2)}")
    return "\n\n".join(filter(None, parts))


def _facts(explanation: Explanation) -> Iterator[tuple[str, str]]:
    settings, profile = explanation.plan.settings, explanation.profiled.profile
    parameters = f": {profile.num_parameters:,} parameters" if profile else ""
    yield "model", f"{settings.model.get('name', settings.model_target)}{parameters}"
    yield "hardware", _hardware(explanation)
    yield "layout", "; ".join(_layout(settings))
    workload, ready = settings.workload, explanation.plan.ready
    batch = f"{workload.global_batch_size} samples of {workload.sequence_length} tokens"
    if isinstance(ready, TrialSpec):
        batch += (
            f" = micro-batch {ready.micro_size} x {ready.accumulation_steps} accumulation steps"
        ) + (f" x {settings.data_parallel} ranks" if settings.data_parallel > 1 else "")
    yield "batch", batch
    match ready:
        case Infeasible(rule=rule, reason=reason):
            yield "plan", f"not allowed: {reason} (rule {rule})"
        case Unsupported(reason=reason):
            yield "plan", f"not possible here: {reason}{_describe_it(explanation)}"
        case _:
            yield "plan", "legal"
    for note in explanation.plan.notes:
        yield "note", note


def _hardware(explanation: Explanation) -> str:
    hardware, machine = explanation.plan.settings.hardware, explanation.machine
    ranks = _count(hardware.ranks, f"{hardware.accelerator} rank")
    if explanation.imagined:
        device = size(machine.device_memory_bytes or 0)
        return f"{ranks} with {device} a device; described, need not be there"
    if hardware.accelerator == "cpu":
        memory = size(machine.host_memory_bytes)
        return f"{ranks} on this host, {machine.cores} cores, {memory}"
    return f"{ranks}; {machine.devices} x {machine.device_name or 'CUDA device'} here"


def _describe_it(explanation: Explanation) -> str:
    """What to type where the devices are not there."""
    devices = explanation.machine.devices
    if devices is None or devices >= explanation.plan.settings.hardware.ranks:
        return ""
    return "; for hardware that is not there type hardware.device_memory=24GiB"


def _layout(settings: Settings) -> Iterator[str]:
    degrees, offload, checkpoints = settings.parallel, settings.offload, settings.checkpointing
    yield f"{settings.data_parallel} data-parallel"
    for name in ("tensor", "pipeline", "sequence", "expert"):
        if (degree := getattr(degrees, name)) > 1:
            yield f"{degree} {name}-parallel"
    yield f"ZeRO stage {settings.zero.stage}"
    yield settings.precision.mode
    for what, where in (("optimizer", offload.optimizer), ("parameters", offload.params)):
        if where != "none":
            yield f"{what} offloaded to {where}"
    if every := checkpoints.every_nth_block:
        blocks = "every block" if every == 1 else f"one block in {every}"
        yield f"checkpointing {blocks}{', kept on the CPU' if checkpoints.on_cpu else ''}"
    else:
        yield "no checkpointing"


def _components(need: MemoryNeed) -> str:
    """Where device and host are one memory, what a limit counts."""
    names = list(dict.fromkeys([*need.device, *need.host]))
    if need.shared:
        return table(
            ("one rank at its peak", "host"),
            [
                *((name, (need.component(name),)) for name in names),
                ("allocated, never touched", (need.untouched_bytes,)),
            ],
            ("total", (need.limited_bytes,)),
        )
    return table(
        ("one rank at its peak", "device", "host"),
        [(name, (need.device.get(name, 0), need.host.get(name, 0))) for name in names],
        ("total", (need.device_bytes, need.host_bytes)),
    )


def _verdict(memory: Memory, explanation: Explanation) -> Iterator[str]:
    settings, estimate, fit = explanation.plan.settings, memory.estimate, memory.fit
    needed = size_with_interval(
        estimate.mean_bytes + estimate.untouched_bytes, _DEVIATIONS * estimate.deviation_bytes
    )
    if memory.limit_bytes is None or fit is None:
        yield f"needs about {needed} a rank; what a device has is not known"
    else:
        limit = _limit(memory.limit_bytes, settings)
        yield f"needs about {needed} of {limit}: {_chance(fit.probability)}"
    if memory.need.shared:
        return
    on_host, there = memory.need.host_bytes * settings.hardware.ranks, memory.host_bytes
    what = f"host memory of one node, {_count(settings.hardware.ranks, 'rank')}: {size(on_host)}"
    if there is None:
        yield f"{what}; what that host has is not known"
    else:
        yield f"{what} of {size(there)}{': too much' if on_host > there else ''}"


def _limit(limit_bytes: int, settings: Settings) -> str:
    hardware = settings.hardware
    if hardware.memory_limit is not None:
        return f"{size(limit_bytes)} (hardware.memory_limit)"
    if hardware.accelerator == "cpu" and hardware.device_memory is None:
        return f"{size(limit_bytes)}, a rank's share of this host"
    return f"{size(limit_bytes)} a device"


def _chance(probability: float) -> str:
    words = "fits" if probability >= 0.5 else "does not fit"
    chance = percent(max(probability, 1 - probability))
    return f"{words} with P {chance}" if chance.startswith(">") else f"{words} with P = {chance}"


def _advice(explanation: Explanation) -> Iterator[str]:
    memory, legal = explanation.memory, isinstance(explanation.plan.ready, TrialSpec)
    if explanation.larger_micro_size is not None:
        yield paragraph(
            f"There is room: batch.micro_size={explanation.larger_micro_size} is the largest "
            "micro-batch that surely fits too."
        )
    unknown = explanation.profiled.profile is None or (memory is not None and memory.fit is None)
    if unknown or (legal and memory is not None and memory.fit and memory.fit.enough):
        return
    if not explanation.answers and not legal:
        return  # the plan has said why, and no change of ours helps
    if not explanation.answers:
        yield paragraph(
            "No smaller micro-batch, no ZeRO stage, offload, checkpointing or precision and no "
            "eightfold number of ranks makes it surely fit; parallel=tensor2 or a smaller "
            "workload.sequence_length may."
        )
        return
    wanted = "surely fit" if legal else "allowed, with memory enough"
    yield f"What would make it {wanted}, the least loss of speed first:"
    yield f"  {'needs':>9}  {'node host':>9}  {'fits':>6}  type"
    for answer in explanation.answers[:_MOST_ANSWERS]:
        yield _answer(answer, explanation.arguments)


def _answer(answer: Answer, arguments: Sequence[str]) -> str:
    typed = " ".join(_typed(change, arguments) for change in answer.changes)
    fit, on_host = answer.fit, answer.fit.host_bytes * answer.settings.hardware.ranks
    first = (
        f"  {size(fit.mean_bytes):>9}  {size(on_host) if on_host else '-':>9}"
        f"  {percent(fit.probability):>6}  "
    )
    return paragraph(typed, first=first, further=" " * len(first))


def _typed(change: Change, arguments: Sequence[str]) -> str:
    """As an option; as values where one of them was typed, which on a command line win over options."""
    names = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    if names.isdisjoint(change.values):
        return change.typed
    return " ".join(f"{name}={_value(value)}" for name, value in change.values.items())


def _value(value: Scalar) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
