"""Seeded combinations of everything that can be set, and whether DeepSpeed agrees with our rules on each.

What the rules call legal must train. What they call forbidden must be refused by DeepSpeed, change
nothing, or give another training than asked for. What they call ignored must make no difference to
the losses, step for step, nor to the memory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sweeper.core.folder import TrialFolder
from sweeper.core.machine import Machine
from sweeper.core.outcome import Infeasible, Measured, Outcome, Unsupported, kind_of, reason_of
from sweeper.core.plan import plan, specification
from sweeper.core.settings import Settings, with_values
from sweeper.hydra_edge import schema
from sweeper.hydra_edge.compose import Composer
from sweeper.hydra_edge.expressions import read
from sweeper.hydra_edge.hydra_versions import VERSION_BASE
from sweeper.places import conf_dir
from sweeper.run.runners import runner

FIXED = [
    "+model=gpt2-nano",
    "workload.global_batch_size=16",
    "workload.sequence_length=32",
    "measure.min_warmup_steps=1",
    "measure.max_warmup_steps=1",
    "measure.min_steps=3",
    "measure.max_steps=3",
    "measure.breakdown_steps=0",
    "launch.timeout_seconds=300",
    "launch.hang_seconds=150",
]
# Beside space=full. Compiling takes minutes and stands in a test of its own.
MORE = {
    "hardware.ranks": ("1", "2", "2", "2"),
    "optimizer": ("adamw", "adamw", "adamw", "adam", "lion", "muon"),
    "compile": ("none",),
}
# How often a parameter has not its first value, but for ALWAYS: most combinations would be forbidden.
VARIED = 0.2
ALWAYS = ("zero", "precision", "hardware.ranks")
# Relative difference of losses that the arithmetic explains: the same work, in another order.
SAME = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 2e-2, "autocast_bf16": 2e-2}
SAME_MEMORY = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    overrides: tuple[str, ...]
    settings: Settings


def combinations(number: int, *, seed: int) -> Iterator[Combination]:
    """The same ones for a seed; the first of a larger number are those of a smaller one."""
    schema.register()
    drawn = random.Random(seed)
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        typed = [*FIXED, "hydra/sweeper=optuna", "space=full"]
        master = hydra.compose_config("config", typed, run_mode=RunMode.MULTIRUN, from_shell=False)
        space = read([], dict(master.hydra.sweeper.params)).space
        values = {n: domain.points() or () for n, domain in space.parameters.items()} | MORE
        composer = Composer(hydra.config_loader, master, FIXED)
        for _ in range(number):
            overrides = tuple(
                f"{name}={drawn.choice(choices if name in ALWAYS else choices[1:] or choices)}"
                for name, choices in values.items()
                if drawn.random() < VARIED or name in ALWAYS
            )
            yield Combination(overrides=overrides, settings=composer.settings(overrides))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """``agrees``: DeepSpeed bears our rules out; ``shown`` says how."""

    overrides: tuple[str, ...]
    rules_say: str
    rule: str
    shown: str
    agrees: bool

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def judge(combination: Combination, machine: Machine, folder: Path) -> Judgement:
    """Runs what is needed to tell."""
    typed = combination.settings
    planned = plan(typed, machine)

    def judged(rules_say: str, shown: str, agrees: bool, rule: str = "") -> Judgement:
        return Judgement(
            overrides=combination.overrides,
            rules_say=rules_say,
            rule=rule,
            shown=shown,
            agrees=agrees,
        )

    if isinstance(planned.ready, Unsupported):
        return judged("unsupported", planned.ready.reason, True)
    if isinstance(planned.ready, Infeasible):
        rule = planned.ready.rule
        shown = _shown_forbidden(planned.settings, rule, machine, folder)
        return judged("forbidden", shown or "trains as it was asked to", bool(shown), rule)
    outcome = _run(planned.settings, machine, folder / "legal")
    if not isinstance(outcome, Measured):
        return judged("legal", f"{kind_of(outcome)}: {reason_of(outcome)}", False)
    if not planned.notes:
        return judged("legal", "trains", True)
    as_typed = _run(typed, machine, folder / "typed")
    difference = _difference(outcome, as_typed, typed)
    return judged(
        "ignored", difference or "no difference", not difference, "; ".join(planned.notes)
    )


def _run(settings: Settings, machine: Machine, folder: Path) -> Outcome:
    return runner("warm").run(specification(settings, machine), TrialFolder(folder))


def _difference(without: Outcome, with_it: Outcome, settings: Settings) -> str:
    """What differs, in words; empty where nothing does."""
    if not isinstance(without, Measured) or not isinstance(with_it, Measured):
        return f"{kind_of(without)} without, {kind_of(with_it)} with: {reason_of(with_it)}"
    a, b = without.measurement, with_it.measurement
    tolerance = SAME[settings.precision.mode]
    if not _close(a.losses, b.losses, tolerance):
        return f"losses {a.losses} without, {b.losses} with"
    if abs(a.peak_bytes / b.peak_bytes - 1) > SAME_MEMORY:
        return f"peak of {a.peak_bytes} bytes without, {b.peak_bytes} with"
    return ""


def _close(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    return len(a) == len(b) and all(
        abs(x - y) <= tolerance * abs(x) for x, y in zip(a, b, strict=True)
    )


def _counterpart(settings: Settings, rule: str) -> dict[str, Any] | None:
    """The same without what is forbidden, where DeepSpeed takes it in silence."""
    if rule == "bf16-master-weights-alone-need-offload":
        return {"precision.bf16_master_weights": None}
    if rule == "hpz-divides-the-ranks":
        return {"zero.hpz_partition_size": None}
    if rule != "optimizer-offload-needs-zero":
        return None
    # There is no Lion on the CPU without offload; at stage 1 one rank has the same update.
    return {"zero.stage": 1} if settings.optimizer.type == "Lion" else {"offload.optimizer": "none"}


def _shown_forbidden(settings: Settings, rule: str, machine: Machine, folder: Path) -> str:
    """How DeepSpeed shows that it cannot be; empty where it trains as asked."""
    outcome = _run(settings, machine, folder / "forbidden")
    if not isinstance(outcome, Measured):
        return f"refused: {reason_of(outcome)}"
    if (changes := _counterpart(settings, rule)) is not None:
        plain = _run(with_values(settings, changes), machine, folder / "without")
        if not _difference(plain, outcome, settings):
            return "silently does nothing: losses and memory are those without it"
    return ""
