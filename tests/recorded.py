"""Studies as they lie on disk, made up: for the tests of what is derived from them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sweeper.core.contest_record import write_contest
from sweeper.core.files import write_json, write_text
from sweeper.core.finalists import Contest, judge
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, Infeasible, Measured, Outcome, OutOfMemory, Stopped
from sweeper.core.rounds import Round
from sweeper.core.trial import Trial
from tests.support import CONFIG, ds_config_of, measured, trial_of

SPACE: dict[str, list[str]] = {
    "zero.stage": ["0", "1", "2", "3"],
    "offload.optimizer": ["none", "cpu"],
    "precision.mode": ["fp32", "bf16"],
    "batch.micro_size": ["1", "2", "4", "8"],
    "checkpointing.every_nth_block": ["0", "1"],
}
_WHOLE = {"zero.stage", "batch.micro_size", "checkpointing.every_nth_block"}


def recorded(
    path: Path,
    trials: Sequence[Trial],
    *,
    rounds: Sequence[Round] = (),
    finalists: Sequence[int] = (),
    stop_reason: str = "it was told to",
    **study: Any,
) -> StudyFolder:
    """``study`` goes into study.yaml, which a plain grid has not."""
    folder = StudyFolder(path)
    for trial in trials:
        own = folder.trial(trial.number)
        write_json(own.trial, trial.to_json())
        write_json(own.ds_config, ds_config_of(trial))
        write_text(own.command, "python -m sweeper.worker spec.json\n")
    if study:
        write_text(folder.study, yaml.safe_dump({"schema_version": 1, "config": CONFIG, **study}))
    for number, found in enumerate(rounds, start=1):
        for n, outcome in found.items():
            again = replace(trials[n], outcome=outcome)
            write_json(folder.finalists.trial(number, n).trial, again.to_json())
    if rounds:
        contest = Contest(finalists=tuple(finalists), baseline=0)
        write_contest(folder.finalists, contest, judge(contest, rounds))
    write_text(folder.stop_reason, stop_reason + "\n")
    return folder


def at(number: int, outcome: Outcome, **point: Any) -> Trial:
    """A trial at a point of ``SPACE``: the dotted settings that are not the baseline's."""
    whole = {name: str(point.get(name, values[0])) for name, values in SPACE.items()}
    settings = {name: int(v) if name in _WHOLE else v for name, v in whole.items()}
    return trial_of(number, outcome, point=whole, **settings)


def small() -> list[Trial]:
    """A baseline, its neighbours, and one of each failure that a reader asks about."""
    gib = 2**30
    beaten = Stopped(measurement=measured(90.0).measurement, reason="clearly beaten")
    return [
        at(0, measured(100.0, spread=0.02)),
        at(1, measured(160.0, peak_bytes=2 * gib), **{"batch.micro_size": 4}),
        at(2, measured(250.0, peak_bytes=3 * gib), **{"batch.micro_size": 4, "zero.stage": 1}),
        at(3, beaten, **{"batch.micro_size": 4, "zero.stage": 1, "offload.optimizer": "cpu"}),
        at(4, measured(155.0, peak_bytes=gib), **{"zero.stage": 1}),
        at(5, OutOfMemory(memory="host", phase="warm-up", reason="needs 20 GiB"),
           **{"batch.micro_size": 8, "zero.stage": 1}),
        at(6, OutOfMemory(memory="host", phase="warm-up", reason="needs 24 GiB"),
           **{"batch.micro_size": 8, "zero.stage": 3}),
        at(7, Infeasible(rule="optimizer-offload-needs-zero", reason="offload needs ZeRO"),
           **{"offload.optimizer": "cpu"}),
        at(8, Crashed(reason="rank 0 died", evidence="Traceback\nValueError: no", exit_code=1),
           **{"precision.mode": "bf16"}),
    ]  # fmt: skip


def small_rounds() -> list[Round]:
    """Finals of ``small`` that trial 2 wins."""
    peak = 3 * 2**30
    return [
        {
            0: measured(100.0 + n),
            2: measured(250.0 + 2 * n, peak_bytes=peak),
            1: measured(160.0 + n),
        }
        for n in range(3)
    ]


def crowd(count: int, *, seed: int = 1) -> list[Trial]:
    """So many trials of a wide space, one in ten of them without a number."""
    draw = random.Random(seed)
    trials = []
    for number in range(count):
        point = {name: draw.choice(values) for name, values in SPACE.items()} if number else {}
        rate = 100.0 * (1 + int(point.get("batch.micro_size", 1))) * draw.uniform(0.8, 1.2)
        outcome: Outcome = measured(rate, peak_bytes=int(draw.uniform(1, 12) * 2**30))
        if number and draw.random() < 0.1:
            outcome = OutOfMemory(memory="host", phase="warm-up", reason=f"needs {number} MiB")
        elif number and draw.random() < 0.3:
            assert isinstance(outcome, Measured)
            outcome = Stopped(measurement=outcome.measurement, reason="clearly beaten")
        trials.append(at(number, outcome, **point))
    return trials
