"""A Hydra job as a trial, and a trial as a Hydra job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sweeper.core.folder import TrialFolder, read_json, write_json
from sweeper.core.machine import Machine
from sweeper.core.outcome import Infeasible, Measured, Unsupported
from sweeper.core.plan import Plan, memory_limit_bytes, plan
from sweeper.core.settings import Settings
from sweeper.core.space import Point
from sweeper.core.trial import Trial
from sweeper.run.exclusive import device_memory_used, exclusive, wait_until_drained
from sweeper.run.launch import devices_of
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner
from sweeper.terminal import Terminal


class Throughput(float):
    """Tokens/s, NaN where none was measured: what a Hydra job returns, so that any sweeper can use it."""

    trial: Trial

    def __new__(cls, trial: Trial) -> Throughput:
        outcome = trial.outcome
        tokens_per_second = (
            outcome.measurement.tokens_per_second if isinstance(outcome, Measured) else float("nan")
        )
        value = super().__new__(cls, tokens_per_second)
        value.trial = trial
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return Throughput, (self.trial,)


def run_trial(
    settings: Settings,
    *,
    machine: Machine,
    number: int,
    point: Point,
    overrides: Sequence[str],
    folder: TrialFolder,
    terminal: Terminal,
) -> Trial:
    """Plans, runs and records one trial."""
    planned = plan(settings, machine)
    if isinstance(planned.ready, Infeasible | Unsupported):
        return record_refused(
            planned, machine=machine, number=number, point=point, overrides=overrides, folder=folder
        )
    spec = planned.ready
    ensure_ops(spec.ops, accelerator=spec.accelerator, say=terminal.say)
    devices = devices_of(settings.hardware)
    with exclusive(devices, terminal.say):
        used_before = device_memory_used(devices)
        started_at, start = time.time(), time.monotonic()
        with terminal.trial_in_hand(number, overrides) as watch:
            outcome = runner(settings.launch.runner).run(spec, folder, watch)
        wall_seconds = time.monotonic() - start
    trial = Trial(
        number=number,
        key=planned.key,
        point=dict(point),
        overrides=tuple(overrides),
        settings=planned.settings.flat(),
        notes=planned.notes,
        memory_limit_bytes=spec.memory_limit_bytes,
        outcome=outcome,
        started_at=started_at,
        wall_seconds=wall_seconds,
        environment=(read_json(folder.result(0)) or {}).get("environment", {}),
    )
    write_json(folder.trial, trial.to_json())
    wait_until_drained(used_before, terminal.say, sleep=time.sleep)
    return trial


def record_refused(
    planned: Plan,
    *,
    machine: Machine,
    number: int,
    point: Point,
    overrides: Sequence[str],
    folder: TrialFolder,
) -> Trial:
    """The trial of a candidate that the plan rules out; no process is spent."""
    assert isinstance(planned.ready, Infeasible | Unsupported)
    trial = Trial(
        number=number,
        key=planned.key,
        point=dict(point),
        overrides=tuple(overrides),
        settings=planned.settings.flat(),
        notes=planned.notes,
        memory_limit_bytes=memory_limit_bytes(planned.settings, machine),
        outcome=planned.ready,
        started_at=time.time(),
        wall_seconds=0.0,
        environment={},
    )
    write_json(folder.trial, trial.to_json())
    return trial
