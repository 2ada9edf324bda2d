"""What several tests need: settings to start from, outcomes, and fakes for the seams of a study."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.core.machine import Machine
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Infeasible, Measured, Outcome, Unsupported
from sweeper.core.plan import Plan, plan, specification
from sweeper.core.settings import Settings, settings_from_flat, settings_from_mapping
from sweeper.core.space import Point, as_overrides
from sweeper.core.trial import Trial, trial_of_plan
from sweeper.places import cache_dir

ROOT = Path(__file__).resolve().parent.parent
MACHINE = Machine(cores=2, host_memory_bytes=16 * 2**30)

CONFIG: dict[str, Any] = {
    "model": {
        "name": "gpt2-nano",
        "_target_": "sweeper.models.gpt2.build",
        "layers": 2,
        "width": 64,
        "heads": 2,
        "vocab_size": 512,
        "max_positions": 128,
    },
    "zero": {"stage": 0},
    "offload": {"optimizer": "none", "params": "none"},
    "precision": {"mode": "fp32", "fp16_initial_scale_power": 12},
    "batch": {"micro_size": 1},
    "comm": {"dtype": None},
    "checkpointing": {"every_nth_block": 0, "on_cpu": False},
    "compile": {"mode": "none"},
    "parallel": {"tensor": 1, "pipeline": 1, "sequence": 1, "expert": 1},
    "optimizer": {
        "type": "AdamW",
        "implementation": "fused",
        "lr": 1e-3,
        "betas": [0.9, 0.95],
        "eps": 1e-8,
        "weight_decay": 0.1,
        "gradient_clipping": 1.0,
    },
    "workload": {
        "global_batch_size": 8,
        "sequence_length": 32,
        "tokens_file": None,
        "seed": 1,
    },
    "hardware": {"accelerator": "cpu", "ranks": 1, "memory_limit": None},
    "measure": {
        "min_warmup_steps": 1,
        "max_warmup_steps": 1,
        "settled_within": 0.1,
        "min_steps": 3,
        "max_steps": 3,
        "interval": 0.02,
        "max_seconds": 5.0,
        "loss_tolerance_fp32": 1e-3,
        "loss_tolerance_16bit": 1e-2,
        "breakdown_steps": 1,
    },
    "launch": {
        "runner": "deepspeed",
        "timeout_seconds": 120.0,
        "hang_seconds": 60.0,
        "bind_cores": False,
    },
}


def nano_config(**changes: Any) -> dict[str, Any]:
    """The nano GPT-2's configuration with dotted settings changed: ``**{"zero.stage": 2}``."""
    config = copy.deepcopy(CONFIG)
    for name, value in changes.items():
        *groups, last = name.split(".")
        node = config
        for group in groups:
            node = node[group]
        node[last] = value
    return config


def nano(**changes: Any) -> Settings:
    return settings_from_mapping(nano_config(**changes))


def measured(
    tokens_per_second: float = 1000.0,
    *,
    peak_bytes: int = 2**30,
    spread: float = 0.01,
    tokens_per_step: int = 256,
    losses: tuple[float, ...] = (6.2, 6.1, 6.0, 5.9),
) -> Measured:
    step = tokens_per_step / tokens_per_second
    return Measured(
        measurement=Measurement(
            step_seconds=(step * (1 - spread), step, step * (1 + spread)),
            warmup_step_seconds=(2 * step,),
            skipped_steps=0,
            losses=losses,
            breakdown_seconds={"forward": (step / 4,), "backward": (step / 2,)},
            flops_per_step=1e9,
            memory=({"steady": {"host_peak_resident_bytes": peak_bytes}},),
            samples_per_step=8,
            tokens_per_step=tokens_per_step,
            ranks=1,
            peak_device_allocated_bytes=None,
            peak_device_reserved_bytes=None,
            peak_host_resident_bytes=peak_bytes,
        )
    )


def trial_of(
    number: int,
    outcome: Outcome,
    *,
    overrides: Sequence[str] = (),
    point: Point | None = None,
    **changes: Any,
) -> Trial:
    settings = nano(**changes)
    planned = plan(settings, MACHINE)
    return trial_of_plan(
        planned,
        outcome,
        number=number,
        point=point or {},
        overrides=overrides,
        memory_limit_bytes=MACHINE.host_memory_bytes,
        started_at=1_700_000_000.0 + number,
        wall_seconds=12.5,
        environment={"device": "a CPU", "torch": "2.13.0", "deepspeed": "0.19.8"},
    )


def ds_config_of(trial: Trial) -> dict[str, Any]:
    """What a trial's folder has as its ds_config.json."""
    return specification(settings_from_flat(trial.settings), MACHINE).ds_config


def plan_of_point(point: Point, **fixed: Any) -> Plan:
    """Plans a point whose parameters are dotted settings."""
    whole = {"zero.stage", "batch.micro_size"}
    changes = {name: int(value) if name in whole else value for name, value in point.items()}
    return plan(nano(**{**fixed, **changes}), MACHINE)


class FakeRunner:
    """Answers from a function of the point; what the plan refuses is recorded as it is."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.run_points: list[Mapping[str, str]] = []

    def run(self, number: int, point: Point, planned: Plan) -> Trial:
        if isinstance(planned.ready, Infeasible | Unsupported):
            outcome: Outcome = planned.ready
        else:
            self.run_points.append(dict(point))
            outcome = self._answer(point)
        return trial_of_plan(
            planned,
            outcome,
            number=number,
            point=point,
            overrides=as_overrides(point),
            memory_limit_bytes=MACHINE.host_memory_bytes,
            started_at=float(number),
            wall_seconds=1.0,
        )


def sweeper_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sweeper", *arguments]


def environment(**more: str) -> dict[str, str]:
    """An environment in which ``python -m sweeper`` finds this checkout from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", **more}


def apart(folder: Path) -> dict[str, str]:
    """For ``environment``: devices that no other test takes turns on; what is known of our models is shared."""
    own, shared = folder / "cache", cache_dir() / "profiles"
    if not own.exists():
        own.mkdir()
        shared.mkdir(parents=True, exist_ok=True)
        (own / "profiles").symlink_to(shared)
    return {"SWEEPER_CACHE_DIR": str(own)}


def run_sweeper(
    *arguments: str, cwd: Path, timeout: float = 180, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        sweeper_command(*arguments),
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
