"""An explanation as a person reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sweeper.core.judgement import Judgement
from sweeper.core.ladders import LESS_OFFLOAD, ON_DEVICE, SPLITS, Change, ladders
from sweeper.core.memory.calibration import FIT_MARGIN
from sweeper.core.memory.demand import PROBABLY_FITS, Demand
from sweeper.core.memory_limit import DEVICE, HOST, MemoryLimit
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.settings import HardwareSettings, Scalar, Settings
from sweeper.core.spec import TrialSpec
from sweeper.core.what_fits import MOST_CHANGES, Answer, Found
from sweeper.hydra_edge.explain import Explanation
from sweeper.hydra_edge.explain_memory import memory_tables
from sweeper.hydra_edge.plain_text import field, paragraph, percent, size, size_with_interval

_MOST_ANSWERS = 6
_TRIED = {  # by ladder
    "batch.micro_size": "a smaller micro-batch",
    "zero": "a higher ZeRO stage",
    "zero.reduce_bucket_size": "smaller buckets for gradients",
    "zero.stage3_max_reuse_distance": "less that stage 3 keeps gathered",
    "precision": "16 bits",
    "checkpointing": "checkpointing",
    "offload": "offload",
    LESS_OFFLOAD: "less offload",
    ON_DEVICE: "checkpoints on the devices",
    "offload.pin_memory": "host memory that is not page-locked",
    "hardware.ranks": "eight times the ranks",
    **{f"parallel.{kind}": "ranks that share the model" for kind in SPLITS},
}
_DEVIATIONS = 1.96  # on either side: 95 % of a normal distribution


def explanation_text(explanation: Explanation) -> str:
    """Model, plan, memory, verdict, what would make it fit, and the ds_config."""
    memory, ready = explanation.memory, explanation.plan.ready
    parts = ["\n".join(field(label, text) for label, text in _facts(explanation))]
    if explanation.profiled.profile is None:
        parts.append(paragraph(f"memory not known: {explanation.profiled.reason}"))
    if memory is not None and explanation.phases is not None:
        if explanation.nearest:
            parts.append(f"With {_typed_all(explanation.nearest[0], explanation)} it would be:")
        elif explanation.forbidden:
            parts.append("Were it allowed, it would be:")
        parts.append(memory_tables(memory.need, explanation.phases, explanation.recomputed))
        parts.append("\n".join(map(paragraph, _verdict(memory))))
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
    for refusal in explanation.refusals:
        match refusal:
            case Infeasible(rule=rule, reason=reason):
                yield "plan", f"not allowed: {reason} (rule {rule})"
            case Unsupported(reason=reason):
                yield "plan", f"not possible here: {reason}{_describe_it(explanation)}"
    if not explanation.refusals:
        yield "plan", "legal"
    if explanation.nearest:
        typed = [_typed_all(changes, explanation) for changes in explanation.nearest]
        yield "allowed", f"with {', or with '.join(typed)}"
    for note in (*explanation.notes, *explanation.plan.notes):
        yield "note", note


def _hardware(explanation: Explanation) -> str:
    hardware, machine = explanation.plan.settings.hardware, explanation.machine
    ranks = _count(hardware.ranks, f"{hardware.accelerator} rank")
    if explanation.imagined and hardware.accelerator == "cpu":
        return (
            f"{ranks} on a host of {size(machine.host_memory_bytes)}; described, need not be there"
        )
    if explanation.imagined:
        device = size(machine.device_memory_bytes or 0)
        name = f" ({hardware.device_name})" if hardware.device_name else ""
        more = "".join(f", {text}" for text in _links(hardware))
        return f"{ranks} with {device} a device{name}{more}; described, need not be there"
    if hardware.accelerator == "cpu":
        memory = size(machine.host_memory_bytes)
        return f"{ranks} on this host, {machine.cores} cores, {memory}"
    return f"{ranks}; {machine.devices} x {machine.device_name or 'CUDA device'} here"


def _links(hardware: HardwareSettings) -> Iterator[str]:
    """What is said of them, each way."""
    for where, speed in (
        ("to the next device", hardware.device_link_gigabytes_per_second),
        ("to the host", hardware.host_link_gigabytes_per_second),
        ("to other nodes", hardware.network_gigabytes_per_second),
    ):
        if speed is not None:
            yield f"{speed:g} GB/s {where}"


def _describe_it(explanation: Explanation) -> str:
    """What to type where the devices are not there."""
    devices = explanation.machine.devices
    if devices is None or devices >= explanation.plan.settings.hardware.ranks:
        return ""
    return "; for hardware that is not there type hardware.device_memory=24GiB, or hardware=h100"


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


def _verdict(memory: Judgement) -> Iterator[str]:
    estimate, limit = memory.estimate, memory.limit
    needed = size_with_interval(
        estimate.mean_bytes + estimate.untouched_bytes, _DEVIATIONS * estimate.deviation_bytes
    )
    if limit is None or memory.on_rank is None:
        yield f"needs about {needed} a rank; what a device has is not known"
    else:
        yield f"needs about {needed} of {_limit(limit, memory.settings)}: {_chance(memory.on_rank)}"
    if not memory.need.shared:
        yield _host(memory)


def _limit(limit: MemoryLimit, settings: Settings) -> str:
    """Which of what was set and what is there binds."""
    asked = settings.hardware.memory_limit_bytes
    what = {DEVICE: "of this device", HOST: "a rank's share of this host"}.get(limit.set_by)
    if limit.set_by == "hardware.host_memory":
        what = "a rank's share of hardware.host_memory"
    more = f"; hardware.memory_limit={settings.hardware.memory_limit} is more than there is"
    beyond = more if asked is not None and asked > limit.bytes else ""
    return f"{size(limit.bytes)} ({what or limit.set_by}{beyond})"


def _chance(demand: Demand) -> str:
    probability = percent(demand.probability)
    sign = "" if probability.startswith((">", "<")) else "= "
    said = f"{demand.level}, P(fits) {sign}{probability}"
    near = demand.level == PROBABLY_FITS and probability.startswith(">")
    return f"{said}, but less than {FIT_MARGIN:.0%} of it to spare" if near else said


def _host(memory: Judgement) -> str:
    node, ranks = memory.node, _count(memory.node.ranks, "rank")
    nodes = f"{node.nodes} nodes of {ranks} (hardware.ranks_per_node): " if node.nodes > 1 else ""
    needed = f"{nodes}the host{' of each' if nodes else f' of {ranks}'} needs about"
    text = f"{needed} {size(memory.need.host_bytes * node.ranks)}"
    if memory.on_host is None:
        return f"{text}; what it has is not known; type for example hardware.host_memory=512GiB"
    return f"{text} of {size(memory.on_host.limit_bytes)}: {_chance(memory.on_host)}"


def _advice(explanation: Explanation) -> Iterator[str]:
    legal = isinstance(explanation.plan.ready, TrialSpec)
    if explanation.larger_micro_size is not None:
        yield paragraph(
            f"There is room: batch.micro_size={explanation.larger_micro_size} is the largest "
            "micro-batch that surely fits."
        )
    found, memory = explanation.found, explanation.memory
    if found is None or (legal and memory and memory.fit and memory.fit.enough):
        return
    if not found.answers:
        yield from map(paragraph, _no_answer(explanation, found))
        return
    wanted = "allowed, with memory enough" if explanation.forbidden else "surely fit"
    yield f"What would make it {wanted}, the least loss of speed first:"
    yield f"  {'needs':>9}  {'node host':>9}  {'P(fits)':>7}  type"
    for answer in found.answers[:_MOST_ANSWERS]:
        yield _answer(answer, explanation)


def _no_answer(explanation: Explanation, found: Found) -> Iterator[str]:
    """What was tried, and what comes closest."""
    memory, closest = explanation.memory, found.closest
    if memory is None or memory.fit is None or explanation.forbidden:
        return  # the plan has said why, and no change of ours helps
    if memory.base_is_too_large:
        yield (
            f"No settings make it surely fit: the framework alone takes {size(memory.base_bytes)}, with "
            "what it allocates and never touches."
        )
        if explanation.larger_limit is not None:
            (change,) = explanation.larger_limit.changes
            yield f"The smallest limit that would do for these: type {change.typed}"
        elif memory.limit and memory.limit.set_by == HOST and memory.settings.hardware.ranks > 1:
            yield "Fewer ranks have larger shares of the host: type hardware.ranks=1"
        return
    tried = list(dict.fromkeys(_TRIED[ladder] for ladder in _ladders(memory.settings)))
    yield f"None of these makes it surely fit, nor do up to {MOST_CHANGES} together: {', '.join(tried)}."
    better = closest is not None and closest.fit.fullness < memory.fit.fullness
    if closest is not None and better:
        yield f"{_least(explanation, memory, closest)}: {_typed_together(closest, explanation)}"
    elif memory.is_host_short:
        yield "Nothing that is allowed needs less of the host than these settings do."
    yield from _larger_host(explanation)
    if better and explanation.shorter is not None:
        (change,) = explanation.shorter.changes
        yield f"It would surely fit with these and {change.typed} together."


def _least(explanation: Explanation, memory: Judgement, closest: Answer) -> str:
    """Of what is short: of both, where the host is that, or would be."""
    device, host = size(closest.fit.mean_bytes), size(closest.fit.host_bytes)
    if memory.is_host_short:
        return f"The host is short. What needs least of it, {host} a node beside {device} a rank"
    if explanation.closest is not None and explanation.closest.is_host_short:
        return f"What comes closest, {device} a rank and {host} of the host a node"
    return f"What needs least of all, {device}"


def _larger_host(explanation: Explanation) -> Iterator[str]:
    """Where the host alone is in the way, of these settings or of what comes closest."""
    found = (("These settings", explanation.memory), ("That", explanation.closest))
    for what, judged in found:
        needed = judged.sufficient_host_bytes if judged and judged.is_host_short else None
        if needed is not None:
            typed = f": type hardware.host_memory={needed / 2**30:g}GiB"
            yield (
                f"{what} would surely fit the host with {size(needed)} of memory a node"
                f"{typed if explanation.imagined else ''}"
            )
            return


def _ladders(settings: Settings) -> Iterator[str]:
    yield from (rungs[0].ladder for rungs in ladders(settings) if rungs)


def _answer(answer: Answer, explanation: Explanation) -> str:
    fit = answer.fit
    first = (
        f"  {size(fit.mean_bytes):>9}  {size(fit.host_bytes) if fit.host_bytes else '-':>9}"
        f"  {percent(fit.probability):>7}  "
    )
    return paragraph(_typed_together(answer, explanation), first=first, further=" " * len(first))


def _typed_together(answer: Answer, explanation: Explanation) -> str:
    """With what the plan needs to allow it at all, unless the answer sets that itself."""
    needed = [
        change
        for change in (explanation.nearest[0] if explanation.nearest else ())
        if not any(change.values.keys() & other.values.keys() for other in answer.changes)
    ]
    return _typed_all((*needed, *answer.changes), explanation)


def _typed_all(changes: Sequence[Change], explanation: Explanation) -> str:
    return " ".join(_typed(change, explanation.arguments) for change in changes)


def _typed(change: Change, arguments: Sequence[str]) -> str:
    """As it is typed; as all its values where one that it brings was typed, which then would stay."""
    names = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    brought = change.values.keys() - {change.typed.partition("=")[0]}
    if names.isdisjoint(brought):
        return change.typed
    return " ".join(f"{name}={_value(value)}" for name, value in change.values.items())


def _value(value: Scalar) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
