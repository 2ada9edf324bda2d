"""The formats of an export: what each is for, which winners it refuses, what it leaves out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.core.framework_arguments import (
    offloads_optimizer,
    recomputes_every_block,
    trainer_optimizer,
)
from sweeper.core.whole_config import section
from sweeper.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """``spreads`` says whether a model that is spread over ranks can be trained with it.

    ``trainer`` marks the frameworks around Hugging Face's Trainer, ``starts`` those that start the
    ranks themselves, by a program that is not ours to choose.
    """

    name: str
    title: str
    spreads: bool = False
    trainer: bool = False
    starts: bool = False


FORMATS: Mapping[str, Format] = {
    f.name: f
    for f in (
        Format(name="native", title="DeepSpeed", spreads=True),
        Format(name="deepspeed", title="DeepSpeed's launcher", spreads=True),
        Format(name="torchrun", title="torchrun", spreads=True),
        Format(name="slurm", title="Slurm", spreads=True),
        Format(name="hf", title="Hugging Face Trainer", trainer=True),
        Format(name="accelerate", title="Accelerate", starts=True),
        Format(name="lightning", title="Lightning", starts=True),
        Format(name="axolotl", title="Axolotl", trainer=True, starts=True),
        Format(name="llamafactory", title="LLaMA-Factory", trainer=True, starts=True),
    )
}
ALL = "all"
_DEGREES = {
    "tensor": "{} ranks share each layer",
    "pipeline": "its layers are cut into {} stages",
    "sequence": "{} ranks share each sequence",
    "expert": "{} ranks share the experts",
}


def formats_named(name: str) -> tuple[Format, ...]:
    """One, or ``all``. Raises UsageError for another name."""
    if name == ALL:
        return tuple(FORMATS.values())
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.4)
        raise UsageError(
            f"--format {name}: allowed are {', '.join([*FORMATS, ALL])}; "
            f"type --format {(close or ['native'])[0]}"
        )
    return (FORMATS[name],)


def refusal(form: Format, settings: Mapping[str, Any]) -> str | None:
    """Why a winner cannot be trained with ``form``, and what can; None where it can.

    ``settings`` is the document of ``core.exported``.
    """
    degrees = {n: d for n, d in settings["parallel"].items() if n in _DEGREES and d > 1}
    if form.spreads or not degrees:
        return None
    how = " and ".join(f"{n} parallel ({_DEGREES[n].format(d)})" for n, d in degrees.items())
    return (
        f"the winner is {how}, and {form.title} gives each rank a whole model and samples of its "
        "own; --format native carries it, with sweeper.best.prepare"
    )


def left_out(
    form: Format,
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    keeps_optimizer: bool = False,
) -> tuple[str, ...]:
    """What of the winner stays behind, each with what to do about it where there is something."""
    if form.spreads:
        return _left_out_by_a_launcher(form, settings)
    parts = []
    hardware = settings["hardware"]
    if form.name == "accelerate" and hardware["accelerator"] == "cpu" and hardware["ranks"] > 1:
        parts.append(
            "samples of its own for each rank: without CUDA Accelerate takes every rank for the only one, and "
            "all train the same; give the loader `sampler=DistributedSampler(dataset, "
            f'num_replicas={hardware["ranks"]}, rank=int(os.environ["RANK"]))`, or take `--format native`'
        )
    checkpointing, launch = settings["checkpointing"], settings["launch"]
    if (n := checkpointing["every_nth_block"]) and not (
        form.trainer and recomputes_every_block(settings)
    ):
        where = ", kept on the CPU" if checkpointing["on_cpu"] else ""
        parts.append(
            f"activation checkpointing (every {'block' if n == 1 else f'{n}. block'}{where}): "
            "`model.gradient_checkpointing_enable()` recomputes every block, on the device"
        )
    if settings["compile"]["mode"] not in ("none", None) and not form.trainer:
        parts.append(
            'the compiled model: `Accelerator(dynamo_backend="inductor")`'
            if form.name == "accelerate"
            else "the compiled model: `torch.compile` in `configure_model`"
        )
    kind = section(config, "optimizer").get("type")
    if kind and not keeps_optimizer and not (form.trainer and trainer_optimizer(config)):
        own = "DeepSpeed's own " if form.trainer else ""
        parts.append(f"the optimizer, {own}{kind}: it is your script's")
    if form.starts:
        named = {
            "omp_threads": "`OMP_NUM_THREADS={}`",
            "cuda_allocator": "`PYTORCH_CUDA_ALLOC_CONF={}`",
        }
        parts += [
            f"{t.format(launch[n])} in the environment" for n, t in named.items() if launch[n]
        ]
        if offloads_optimizer(config) and not launch["omp_threads"] and form.name != "lightning":
            parts.append("`OMP_NUM_THREADS`: unset it is 1, too few for an offloaded optimizer")
        if launch["bind_cores"]:
            parts.append("cores of its own for each rank")
    return tuple(parts)


def _left_out_by_a_launcher(form: Format, settings: Mapping[str, Any]) -> tuple[str, ...]:
    if form.name in ("torchrun", "slurm") and settings["launch"]["bind_cores"]:
        return ("cores of its own for each rank: `launch.sh` binds them",)
    return ()
