"""What of a winner a ds_config.json cannot carry, and what it carries that no study found: a sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.core.exported import EXPORTED
from sweeper.core.trial import Trial
from sweeper.core.whole_config import is_on, section


def not_in_the_json(trial: Trial, *, place: str = "best") -> str:
    """One sentence: what of the winner a ds_config.json cannot carry, and what does; "" where it is nothing.

    ``place`` is the folder of that JSON.
    """
    given = trial.settings
    parts = []
    if n := given.get("checkpointing.every_nth_block"):
        where = ", kept on the CPU" if given.get("checkpointing.on_cpu") else ""
        parts.append(
            f"activation checkpointing (every {'block' if n == 1 else f'{n}. block'}{where})"
        )
    if given.get("compile.mode", "none") != "none":
        parts.append("the call of `engine.compile()`")
    for name, what in (
        ("pipeline", "the pipeline's {} stages"),
        ("tensor", "which batches the {} ranks of tensor parallelism share"),
        ("sequence", "sequence parallelism over {} ranks"),
        ("expert", "expert parallelism over {} ranks"),
    ):
        if (degree := given.get(f"parallel.{name}", 1)) > 1:
            parts.append(what.format(degree))
    launch = [n for n in EXPORTED["launch"] if given.get(f"launch.{n}")]
    if launch:
        parts.append(f"the launch settings ({', '.join(launch)})")
    if not parts:
        return ""
    *most, last = parts
    return (
        f"The JSON alone does not carry {', '.join(most)}{' and ' if most else ''}{last}: "
        f"`{place}/settings.yaml` does, applied by the two lines `from sweeper.best import prepare` "
        f'and `engine = prepare("{place}", model)`, started by `{place}/launch.sh`.'
    )


# Keys of a ds_config.json that say how the model learns, and the settings that they are from.
_OF_THE_TRAINING = {
    **{name: f"optimizer.{name}" for name in ("lr", "betas", "eps", "weight_decay")},
    "gradient_clipping": "optimizer.gradient_clipping",
}


def not_found(config: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """What of ``config`` the study was given and held; "" where there is nothing of the kind."""
    own = section(config, "optimizer", "params")
    there = [
        f"`{key}`"
        for key, setting in _OF_THE_TRAINING.items()
        if (key in own or key in config)
        and len({str(t.settings.get(setting)) for t in trials}) == 1
    ]
    if not there:
        return ""
    *most, last = there
    named = f"{', '.join(most)} and {last}" if most else last
    of_a_script = trials[0].settings.get("script.path")
    whose = (
        "your script's own" if of_a_script else "what `optimizer.*` was set to, else its defaults"
    )
    return (
        f"In the JSON {named} {'are no findings' if most else 'is no finding'} of the study: {whose}, the "
        "same in every trial. Train with your own."
    )


# What a study adds to a script's configuration where a candidate needs it.
_ADDED = {
    "zero_allow_untested_optimizer": "ZeRO refuses {optimizer} without it",
    "zero_force_ds_cpu_optimizer": "with an offloaded optimizer DeepSpeed takes no other than its own CPU "
    "Adam without it",
}
# What trials leave out and a script goes on doing.
_SWITCHED_OFF = (
    "tensorboard",
    "wandb",
    "csv_monitor",
    "comet",
    "flops_profiler",
    "autotuning",
    "comms_logger",
)
_FLAGS = ("wall_clock_breakdown", "memory_breakdown", "dump_state")


def added(config: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """What a script's winner has beside ``own``, so that DeepSpeed takes it; "" where it has nothing of it."""
    kind = section(config, "optimizer").get("type")
    optimizer = str(kind) if kind else "the script's own optimizer"
    parts = [
        f"`{name}: {str(config[name]).lower()}`, because {why.format(optimizer=optimizer)}"
        for name, why in _ADDED.items()
        if name in config and name not in own
    ]
    return f"Added to your script's configuration: {'; '.join(parts)}." if parts else ""


def left_on(config: Mapping[str, Any]) -> str:
    """What a script's configuration does beside the training, and did not in the trials."""
    names = [n for n in _SWITCHED_OFF if is_on(section(config, n).get("enabled"))]
    names += [n for n in _FLAGS if is_on(config.get(n))]
    if not names:
        return ""
    said = f"In the JSON as in your own: {', '.join(f'`{name}`' for name in names)}, which the trials left out."
    if "autotuning" in names:
        said += " With `autotuning` enabled DeepSpeed ends a training after some steps: take it out to train."
    return said
