"""What a script's own run says in the words of our options: its baseline, and what it decides itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeper.core.script_config import ConfigKnobs, knobs_of
from sweeper.errors import UsageError

# Dropout draws other numbers where the batch is cut otherwise.
DROPOUT_TOLERANCE = 0.1
_OFFLOAD_OPTIONS = {
    ("none", "none"): "none",
    ("cpu", "none"): "optimizer",
    ("cpu", "cpu"): "optimizer_and_params",
    ("nvme", "none"): "nvme_optimizer",
    ("nvme", "nvme"): "nvme",
}
_THE_SCRIPTS = ("script", "model", "workload", "optimizer", "parallel", "compile")
_TRAINED_IN = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def baseline_overrides(facts: Mapping[str, Any], *, ranks: int, name: str) -> list[str]:
    """The script's own configuration as overrides. Raises UsageError where settings cannot say it."""
    knobs = knobs_of(facts["config"])
    if facts["data_parallel"] != ranks:
        raise UsageError(
            f"+script={name}: spreads its model over the ranks itself ({facts['data_parallel']} of "
            f"{ranks} are data-parallel), which is not tuned; type hydra/sweeper=optuna for a script "
            "whose ranks are all data-parallel"
        )
    if knobs.precision is None:
        raise UsageError(
            f"+script={name}: its configuration trains in a precision that is not tuned (amp, or "
            "torch_autocast in float16); give it bf16, fp16 or torch_autocast in bfloat16"
        )
    micro_size = fed_micro_size(facts)
    overrides = [
        f"workload.global_batch_size={micro_size * facts['accumulation_steps'] * ranks}",
        f"workload.sequence_length={facts['tokens']}",
        f"batch.micro_size={micro_size}",
        f"zero=stage{knobs.stage}",
        *_offload(knobs),
        f"precision={knobs.precision}",
        f"comm={knobs.communication_dtype or 'default'}",
        f"checkpointing={'full' if facts['recomputes'] else 'none'}",
    ]
    if facts["has_dropout"]:
        overrides += [
            f"measure.loss_tolerance_fp32={DROPOUT_TOLERANCE}",
            f"measure.loss_tolerance_16bit={DROPOUT_TOLERANCE}",
        ]
    return overrides


def fed_micro_size(facts: Mapping[str, Any]) -> int:
    """What the script feeds; what its configuration says where that cannot be seen."""
    return int(facts["fed_micro_size"] or facts["micro_size"])


def _offload(knobs: ConfigKnobs) -> list[str]:
    devices = (knobs.offload_optimizer, knobs.offload_param)
    path = [f"offload.nvme_path={knobs.nvme_path}"] if knobs.nvme_path else []
    if devices in _OFFLOAD_OPTIONS:
        return [f"offload={_OFFLOAD_OPTIONS[devices]}", *path]
    return [f"offload.optimizer={devices[0]}", f"offload.params={devices[1]}", *path]


def closed_at_once(
    facts: Mapping[str, Any], parameters: Iterable[str], name: str
) -> dict[str, str]:
    """Parameter -> why it is left out, from the script's own run alone."""
    knobs = knobs_of(facts["config"])
    closed: dict[str, str] = {}
    for parameter in parameters:
        group = parameter.lstrip("+").partition(".")[0]
        if group in _THE_SCRIPTS:
            closed[parameter] = f"that is {name}'s own affair"
        elif group == "checkpointing" and facts["recomputes"] is None:
            closed[parameter] = (
                f"{name}'s model cannot be told from outside to checkpoint its activations"
            )
        elif group == "offload" and _offload(knobs)[0].startswith("offload."):
            closed[parameter] = f"{name}'s own offload is none of the options"
        elif group == "precision" and (why := _fixed_precision(facts, knobs, name)):
            closed[parameter] = why
    return closed


def _fixed_precision(facts: Mapping[str, Any], knobs: ConfigKnobs, name: str) -> str:
    if facts["autocasts"]:
        return f"{name} calls torch.autocast itself"
    if knobs.precision == "fp32" and facts["dtypes"] != ["float32"]:
        return f"{name} makes its model in {' and '.join(facts['dtypes'])}"
    return ""


def notes_on(facts: Mapping[str, Any], name: str) -> list[str]:
    """What a reader of the study's numbers has to know of the script."""
    notes = []
    if (fed := fed_micro_size(facts)) != facts["micro_size"]:
        notes.append(
            f"{name} feeds {fed} samples in a micro-batch, where its configuration says "
            f"{facts['micro_size']}: the global batch is counted from what it feeds"
        )
    if facts["tokens"] == 1:
        notes.append(f"{name}'s inputs show no tokens: tokens/s stands for samples/s")
    if facts["has_dropout"]:
        notes.append(
            f"{name}'s model has dropout, which differs with the micro-batch: losses are "
            f"compared within {DROPOUT_TOLERANCE:.0%}"
        )
    if not facts["has_losses"]:
        notes.append(f"{name} does not call engine.backward: its losses cannot be compared")
    return notes


def other_micro_size(facts: Mapping[str, Any]) -> int | None:
    """One that the script could be given at the same global batch; None where there is no other."""
    micro_size, steps = fed_micro_size(facts), facts["accumulation_steps"]
    of_a_rank = micro_size * steps
    doubled = [2 * micro_size] if of_a_rank % (2 * micro_size) == 0 else []
    smaller = (size for size in range(micro_size // 2, 0, -1) if of_a_rank % size == 0)
    return next(iter([*doubled, *smaller]), None)


def other_precision(own: str, choices: Sequence[str]) -> str | None:
    """Another one of the space whose dtype shows in the model's parameters."""
    return next((c for c in choices if c != own and c in _TRAINED_IN), None)


def why_not_followed(change: str, facts: Mapping[str, Any]) -> str:
    """Of an override that was tried on the script; "" where what was seen is what was asked for."""
    setting, _, value = change.partition("=")
    if setting == "batch.micro_size" and facts["fed_micro_size"] not in (0, int(value)):
        return f"it feeds {facts['fed_micro_size']} samples whatever its configuration says"
    if setting == "precision" and facts["dtypes"] != [_TRAINED_IN[value]]:
        return f"its model stays in {' and '.join(facts['dtypes'])}"
    return ""
