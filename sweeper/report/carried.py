"""What of a winner a ds_config.json cannot carry, in one sentence."""

from __future__ import annotations

from sweeper.core.exported import EXPORTED
from sweeper.core.trial import Trial


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
