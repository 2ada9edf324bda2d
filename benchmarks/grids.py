"""The grids: which points they have, and how a point becomes a plan."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.setting import PUBLISHED, settings_of
from sweeper.core.machine import Machine
from sweeper.core.outcome import Outcome, outcome_from_json
from sweeper.core.plan import Plan, acts, plan
from sweeper.core.settings import Settings
from sweeper.core.space import Choice, Point, SearchSpace

# What the grids were planned for; a rule never depends on how fast the machine is.
MACHINE = Machine(
    cores=2, host_memory_bytes=16 * 2**30, device_name="CPU", bf16=True, fp16=False, libaio=False
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """``fixed`` are the changes to the default configuration that all points share."""

    name: str
    fixed: dict[str, Any]
    space: SearchSpace
    _settings: dict[str, Settings] = field(default_factory=dict)

    def settings(self, point: Point) -> Settings:
        key = json.dumps(dict(point), sort_keys=True)
        if key not in self._settings:
            typed = {n: int(v) if v.isdigit() else v for n, v in point.items()}
            self._settings[key] = settings_of({**self.fixed, **typed})
        return self._settings[key]

    def plan(self, point: Point) -> Plan:
        return plan(self.settings(point), MACHINE)

    def acts(self, name: str, point: Point) -> bool:
        return "." not in name or acts(self.settings(point), name)

    @property
    def csv(self) -> Path:
        return PUBLISHED / f"grid-{self.name}.csv"

    def recorded(self) -> list[Recorded]:
        """What has been measured of it so far."""
        return list(self._rows()) if self.csv.exists() else []

    def _rows(self) -> Iterator[Recorded]:
        with self.csv.open(newline="") as file:
            for row in csv.DictReader(file):
                yield Recorded(
                    number=int(row["pass"]),
                    point={name: row[name] for name in self.space.parameters},
                    outcome=outcome_from_json(json.loads(row["outcome"])),
                    wall_seconds=float(row["wall_seconds"]),
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One row of a grid's CSV: what a point gave in pass ``number``."""

    number: int
    point: Point
    outcome: Outcome
    wall_seconds: float


_SPACE = SearchSpace(
    parameters={
        "hardware.ranks": Choice(values=("1", "2")),
        "zero": Choice(values=("stage0", "stage1", "stage2", "stage3")),
        "offload": Choice(values=("none", "optimizer", "optimizer_and_params")),
        "precision": Choice(values=("fp32", "bf16", "autocast_bf16")),
        "checkpointing": Choice(values=("none", "full")),
        "batch.micro_size": Choice(values=("1", "2", "4", "8")),
    }
)
_IN_TWO_PRECISIONS = SearchSpace(
    parameters={**_SPACE.parameters, "precision": Choice(values=("fp32", "bf16"))}
)
_MEASURE = {
    "measure.min_warmup_steps": 2,
    "measure.max_warmup_steps": 4,
    "measure.min_steps": 8,
    "measure.max_steps": 12,
    "measure.max_seconds": 3.0,
    "measure.breakdown_steps": 0,
    "launch": "warm",
}

GRIDS = {
    grid.name: grid
    for grid in (
        Grid(
            name="gpt2-nano",
            fixed={
                **_MEASURE,
                "model": "gpt2-nano",
                "workload.global_batch_size": 16,
                "workload.sequence_length": 64,
            },
            space=_SPACE,
        ),
        Grid(
            name="llama-small",
            fixed={
                **_MEASURE,
                "model": "llama-nano",
                "model.width": 192,
                "model.heads": 6,
                "model.kv_heads": 3,
                "model.feed_forward_width": 512,
                "model.vocab_size": 4096,
                "workload.global_batch_size": 16,
                "workload.sequence_length": 32,
            },
            space=_IN_TWO_PRECISIONS,
        ),
    )
}
