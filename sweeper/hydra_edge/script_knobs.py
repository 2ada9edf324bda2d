"""What a script's own run says in the words of our options: its baseline, and what it decides itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sweeper.core.ds_config_keys import keys_not_read
from sweeper.core.resolved_config import Resolved
from sweeper.core.script_work import (
    amount,
    counted_by,
    followed_by,
    grows,
    is_seen,
    passes,
    settled,
    tokens,
    work_from_json,
)
from sweeper.core.settings import allowed, setting_names
from sweeper.errors import UsageError

# Dropout draws other numbers where the batch is cut otherwise.
DROPOUT_TOLERANCE = 0.1
AS_CONFIGURED = "as_configured"
_OFFLOAD_OPTIONS = {
    ("none", "none"): "none",
    ("cpu", "none"): "optimizer",
    ("cpu", "cpu"): "optimizer_and_params",
    ("nvme", "none"): "nvme_optimizer",
    ("nvme", "nvme"): "nvme",
}
# Of gradients that a script accumulates itself, unless it says which backward pass is the last.
_KEEPS_THE_LAST = (1, 2)
_THE_SCRIPTS = ("model", "workload", "optimizer", "parallel", "compile", "script")
_TRAINED_IN = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# What is timed over the same steps in every trial.
_FIXED_STEPS = ("measure.interval=0", "measure.max_seconds=1000000", "script.steps_grow=true")


def baseline_overrides(
    facts: Mapping[str, Any], *, ranks: int, name: str, samples: str | None = None
) -> list[str]:
    """The script's own configuration as overrides. Raises UsageError where settings cannot say it.

    ``samples`` is the unit that was typed for them.
    """
    resolved = Resolved.from_json(facts["resolved"])
    if facts["data_parallel"] != ranks:
        raise UsageError(
            f"+script={name}: spreads its model over the ranks itself ({facts['data_parallel']} of "
            f"{ranks} are data-parallel), which is not tuned: only scripts are whose ranks are all "
            "data-parallel; take its parallel degrees out of its configuration, or type hardware.ranks=1"
        )
    if resolved.precision is None:
        raise UsageError(
            f"+script={name}: its configuration trains in a precision that is not tuned (amp, or "
            "torch_autocast in float16); give it bf16, fp16 or torch_autocast in bfloat16"
        )
    micro_size, steps = facts["micro_size"], accumulation_steps(facts)
    global_batch = micro_size * steps * ranks
    return [
        f"workload.global_batch_size={global_batch}",
        f"workload.sequence_length={_tokens_of_a_sample(facts, global_batch)}",
        f"batch.micro_size={micro_size}",
        f"zero=stage{resolved.stage}",
        *_offload(resolved),
        f"precision={resolved.precision}",
        f"comm={resolved.communication_dtype or 'default'}",
        f"checkpointing={'full' if facts['recomputes'] else 'none'}",
        *_details(resolved),
        *_of_the_script(facts, global_batch, samples),
    ]


def accumulation_steps(facts: Mapping[str, Any]) -> int:
    """Micro-batches of a rank in a step: the engine's, and those that the script's loop puts together beside it.

    Several backward passes of one micro-batch are none: where the samples are known that are drawn, they tell.
    """
    engines, work = facts["accumulation_steps"], work_from_json(facts)
    factor, rest = divmod(passes(work), engines)
    if factor <= 1 or rest:
        return int(engines)
    drawn = amount(work, "drawn")
    if drawn is not None:
        of_the_engine = facts["micro_size"] * engines * facts["data_parallel"]
        drawn_factor, drawn_rest = divmod(int(drawn), of_the_engine)
        if drawn_factor and not drawn_rest and factor % drawn_factor == 0:
            factor = drawn_factor
    return int(engines * factor)


def _tokens_of_a_sample(facts: Mapping[str, Any], global_batch: int) -> int:
    """On the mean; 1 where the inputs show none."""
    seen = tokens(work_from_json(facts))
    return 1 if seen is None else max(round(seen / global_batch), 1)


def _of_the_script(
    facts: Mapping[str, Any], global_batch: int, samples: str | None
) -> Iterable[str]:
    """How its trials are counted."""
    work = work_from_json(facts)
    unit = samples if samples not in (None, AS_CONFIGURED) else counted_by(work)
    seen = None if unit is None else amount(work, unit)
    if seen is not None:
        yield f"script.samples={unit}"
        yield f"script.units_per_sample={seen / global_batch!r}"
    if accumulation_steps(facts) != facts["accumulation_steps"]:
        yield f"script.engine_accumulation={facts['accumulation_steps']}"
        if not facts["sets_boundary"]:
            stage = Resolved.from_json(facts["resolved"]).stage
            yield f"script.sums_gradients_at='{'1,2' if stage in _KEEPS_THE_LAST else '0,3'}'"
    if facts["num_engines"] > 1:
        yield f"script.engine={facts['number']}"
    if grows(work):
        yield from _FIXED_STEPS
    if facts["has_dropout"]:
        yield from loss_tolerance(DROPOUT_TOLERANCE)


def loss_tolerance(share: float) -> list[str]:
    """Overrides that compare losses within it."""
    return [f"measure.loss_tolerance_fp32={share:g}", f"measure.loss_tolerance_16bit={share:g}"]


def _offload(resolved: Resolved) -> list[str]:
    stage = resolved.stage
    devices = (resolved.optimizer_device(stage), resolved.param_device(stage))
    on_nvme = "nvme" in devices and resolved.nvme_path
    path = [f"offload.nvme_path={resolved.nvme_path}"] if on_nvme else []
    if devices in _OFFLOAD_OPTIONS:
        return [f"offload={_OFFLOAD_OPTIONS[devices]}", *path]
    return [f"offload.optimizer={devices[0]}", f"offload.params={devices[1]}", *path]


def _details(resolved: Resolved) -> list[str]:
    """What more of its configuration our settings name; a value that they do not allow stays where it is."""
    known = setting_names()
    return [
        f"{name}={_typed(value)}"
        for name in resolved.given
        if (value := resolved.values[name]) is not None and allowed(value, known[name])
    ]


def _typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def closed_at_once(
    facts: Mapping[str, Any],
    parameters: Iterable[str],
    name: str,
    *,
    filled_in: Collection[str] = (),
    samples: str | None = None,
) -> dict[str, str]:
    """Parameter -> why it is left out, from the script's own run alone.

    ``filled_in`` are the placeholders of its arguments.
    """
    resolved = Resolved.from_json(facts["resolved"])
    closed: dict[str, str] = {}
    for parameter in parameters:
        group = parameter.lstrip("+").partition(".")[0]
        if group in _THE_SCRIPTS:
            closed[parameter] = f"that is {name}'s own affair"
        elif group == "checkpointing" and not facts["can_switch_recomputation"]:
            does = "checkpoints its activations" if facts["recomputes"] else "does not"
            closed[parameter] = (
                f"{name}'s model cannot be told from outside to checkpoint its activations (it {does})"
            )
        elif group == "offload" and _offload(resolved)[0].startswith("offload."):
            closed[parameter] = f"{name}'s own offload is none of the options"
        elif (group == "precision" and (why := _fixed_precision(facts, resolved, name))) or (
            group == "batch" and (why := _fixed_batch(facts, name, filled_in, samples))
        ):
            closed[parameter] = why
    return closed


def _fixed_precision(facts: Mapping[str, Any], resolved: Resolved, name: str) -> str:
    if facts["autocasts"] and resolved.precision != "autocast_bf16":
        return f"{name} calls torch.autocast itself"
    if resolved.precision == "fp32" and facts["dtypes"] != ["float32"]:
        return f"{name} makes its model in {' and '.join(facts['dtypes'])}"
    return ""


def _fixed_batch(
    facts: Mapping[str, Any], name: str, filled_in: Collection[str], samples: str | None
) -> str:
    if samples == AS_CONFIGURED:
        return ""
    steps = accumulation_steps(facts)
    if steps != facts["accumulation_steps"] and "gradient_accumulation" not in filled_in:
        return (
            f"{name} puts {steps} micro-batches together in a loop of its own; pass it both with"
            " {micro_batch} and {gradient_accumulation} in script.args"
        )
    if not is_seen(work_from_json(facts)):
        return (
            f"nothing shows how many samples a step of {name} trains (its data loaders draw none one by one,"
            " or as many in each step, and its model is fed no tensors), so that nobody can tell whether it"
            f" follows; type script.samples={AS_CONFIGURED} where it does"
        )
    return ""


def notes_on(facts: Mapping[str, Any], name: str) -> list[str]:
    """What a reader of the study's numbers has to know of the script."""
    work = work_from_json(facts)
    notes = [f"{name}'s configuration: {note}" for note in keys_not_read(facts["config"])]
    if facts["switched_off"]:
        notes.append(
            f"{', '.join(facts['switched_off'])}: off in trials, and as {name}'s configuration has it in"
            " what is exported"
        )
    if facts["num_engines"] > 1:
        notes.append(_on_engines(facts, name))
    if (steps := accumulation_steps(facts)) != facts["accumulation_steps"]:
        notes.append(
            f"{name} puts {steps} micro-batches together in a loop of its own, of which DeepSpeed counts"
            f" {facts['accumulation_steps']}: what it divides its loss by stays as it is"
        )
        stage = Resolved.from_json(facts["resolved"]).stage
        if stage in _KEEPS_THE_LAST and not facts["sets_boundary"]:
            notes.append(
                f"{name} does not call set_gradient_accumulation_boundary: at ZeRO stage {stage} DeepSpeed"
                " keeps the gradients of the last micro-batch alone, in its own training too"
            )
    notes += _on_samples(facts, name)
    if tokens(work) is None:
        notes.append(f"{name}'s inputs show no tokens: tokens/s stands for samples/s")
    if grows(work):
        first, last = work[0].longest, work[-1].longest
        notes.append(
            f"{name}'s sequences grow ({first} to {last} tokens in the steps that were seen): every trial is"
            " timed over the same steps, and says nothing of the memory and the speed of later ones; give it"
            " the length that it ends with for those"
        )
    elif _has_curriculum(facts["config"]):
        notes.append(
            f"{name}'s configuration has a curriculum: speed and memory are those of its first steps"
        )
    if facts["has_dropout"]:
        notes.append(
            f"{name}'s model has dropout, which differs with the micro-batch: losses are "
            f"compared within {DROPOUT_TOLERANCE:.0%}"
        )
    if not facts["has_losses"]:
        notes.append(f"{name} does not call engine.backward: its losses cannot be compared")
    return notes


def _on_engines(facts: Mapping[str, Any], name: str) -> str:
    trained = facts["trained"]
    number = facts["number"]
    if len(trained) == 1:
        which = "the one that trains"
    else:
        sizes = ", ".join(f"{e['number']}: {e['parameters']:,} parameters" for e in trained)
        others = next(e["number"] for e in trained if e["number"] != number)
        which = f"of those that train ({sizes}); type script.engine={others} to tune another"
    return (
        f"{name} makes {facts['num_engines']} engines: number {number} is tuned, {which}; the others keep"
        " their configuration"
    )


def _on_samples(facts: Mapping[str, Any], name: str) -> Iterable[str]:
    """Where what the model is fed does not look like a micro-batch."""
    work, micro_size = work_from_json(facts), facts["micro_size"]
    steps = settled(work)
    rows = amount(work, "rows")
    if not steps or rows is None:
        return
    fed = rows / (accumulation_steps(facts) * facts["data_parallel"])
    if fed != micro_size:
        unit = counted_by(work)
        how = {"drawn": "what its data loaders draw", "elements": "how large its inputs are"}
        counted = how.get(str(unit), f"{fed / micro_size:.4g} rows a sample")
        yield (
            f"{name} feeds its model {fed:.4g} rows for a micro-batch of {micro_size}: samples are counted by"
            f" {counted}"
        )


def _has_curriculum(config: Mapping[str, Any]) -> bool:
    section = config.get("data_efficiency")
    legacy = config.get("curriculum_learning")
    return any(isinstance(s, Mapping) and bool(s.get("enabled")) for s in (section, legacy))


def other_micro_size(facts: Mapping[str, Any]) -> int | None:
    """One that the script could be given at the same global batch; None where there is no other."""
    micro_size, steps = facts["micro_size"], accumulation_steps(facts)
    of_a_rank = micro_size * steps
    doubled = [2 * micro_size] if of_a_rank % (2 * micro_size) == 0 else []
    smaller = (size for size in range(micro_size // 2, 0, -1) if of_a_rank % size == 0)
    return next(iter([*doubled, *smaller]), None)


def other_precision(own: str, choices: Sequence[str]) -> str | None:
    """Another one of the space whose dtype shows in the model's parameters."""
    return next((c for c in choices if c != own and c in _TRAINED_IN), None)


def why_not_followed(
    change: str, facts: Mapping[str, Any], own: Mapping[str, Any], samples: str | None = None
) -> str:
    """Of an override that was tried on the script; "" where what was seen is what was asked for.

    ``own`` are the facts of the script as it is.
    """
    setting, _, value = change.partition("=")
    if setting == "batch.micro_size" and samples != AS_CONFIGURED:
        return _why_another_batch(facts, own)
    if setting == "precision" and facts["dtypes"] != [_TRAINED_IN[value]]:
        return f"its model stays in {' and '.join(facts['dtypes'])}"
    return ""


def _why_another_batch(facts: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    before, after = work_from_json(own), work_from_json(facts)
    if followed_by(before, after) is not None:
        return ""
    open_it = (
        "pass it on with {micro_batch} in script.args, or type"
        f" script.samples={AS_CONFIGURED} where it does follow"
    )
    for unit, what in (("drawn", "draws {} samples"), ("rows", "feeds {} rows")):
        ours, theirs = amount(before, unit), amount(after, unit)
        if ours is not None and theirs is not None:
            return (
                f"with a micro-batch of {facts['micro_size']} it {what.format(f'{theirs:g}')} in a step,"
                f" not {ours:g}: it does not follow its configuration; {open_it}"
            )
    return f"nothing shows that it follows its configuration; {open_it}"
