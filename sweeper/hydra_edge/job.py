"""A Hydra job as a trial, and a trial as a Hydra job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder
from sweeper.core.machine import Machine
from sweeper.core.memory_limit import enforced_bytes
from sweeper.core.outcome import Infeasible, Measured, Unsupported
from sweeper.core.plan import Plan, plan
from sweeper.core.settings import Settings
from sweeper.core.space import Point
from sweeper.core.trial import Trial, trial_of_plan
from sweeper.run.attempt import attempt
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
    with attempt(
        planned.ready,
        folder,
        runner_name=settings.launch.runner,
        number=number,
        overrides=overrides,
        terminal=terminal,
    ) as attempted:
        trial = trial_of_plan(
            planned,
            attempted.outcome,
            number=number,
            point=point,
            overrides=overrides,
            memory_limit_bytes=planned.ready.memory_limit_bytes,
            started_at=attempted.started_at,
            wall_seconds=attempted.wall_seconds,
            environment=attempted.environment,
        )
        write_json(folder.trial, trial.to_json())
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
    trial = trial_of_plan(
        planned,
        planned.ready,
        number=number,
        point=point,
        overrides=overrides,
        memory_limit_bytes=enforced_bytes(planned.settings, machine),
        started_at=time.time(),
    )
    write_json(folder.trial, trial.to_json())
    return trial
