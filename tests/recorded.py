"""Studies as they lie on disk, made up: for the tests of what is derived from them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sweeper.core.contest_record import write_contest
from sweeper.core.files import write_json, write_text
from sweeper.core.finalists import Contest, judge, play
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import (
    Crashed,
    Infeasible,
    Measured,
    Outcome,
    OutOfMemory,
    Stopped,
    TimedOut,
    Unsupported,
)
from sweeper.core.prediction import Prediction
from sweeper.core.rounds import Round
from sweeper.core.space import Choice, SearchSpace
from sweeper.core.trial import Trial
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import open_study
from sweeper.search.samplers import GUIDED
from tests.support import CONFIG, MACHINE, ds_config_of, measured, trial_of

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
    predictions: Mapping[int, Prediction] | None = None,
    **study: Any,
) -> StudyFolder:
    """``study`` goes into study.yaml, which a plain grid has not; ``predictions`` are by trial number."""
    folder = StudyFolder(path)
    for trial in trials:
        own = folder.trial(trial.number)
        write_json(own.trial, trial.to_json())
        write_json(own.ds_config, ds_config_of(trial))
        write_text(own.command, "python -m sweeper.worker spec.json\n")
        if predictions and trial.number in predictions:
            write_json(own.prediction, predictions[trial.number].to_json())
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


def write_journal(folder: StudyFolder, trials: Sequence[Trial], study_name: str) -> None:
    """Optuna's, of a study over ``SPACE``, as one that is resumed makes it anew."""
    space = SearchSpace(parameters={n: Choice(values=tuple(v)) for n, v in SPACE.items()})
    opened = open_study(
        space=space,
        sampler={"_target_": GUIDED},
        storage=None,
        journal=folder.journal,
        study_name=study_name,
        directions=["maximize"],
        seed=1,
    )
    sampler = OptunaSampler(space, opened, seed=1)
    for trial in trials:
        sampler.replay(trial)


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


# What ``full`` tried, option by option as in ``SPACE``.
_TRIED = (
    "0 none fp32 1 0", "0 none fp32 4 0", "0 none fp32 8 0", "1 none fp32 4 0", "0 cpu fp32 4 0",
    "1 cpu fp32 4 0", "0 none bf16 4 0", "1 none bf16 8 0", "0 none bf16 8 0", "2 none bf16 8 0",
    "3 none fp32 8 0", "1 none bf16 8 1", "0 none fp32 2 0", "2 none bf16 4 0", "3 cpu bf16 8 0",
    "3 cpu fp32 1 1", "1 none bf16 4 0", "2 cpu bf16 8 0", "0 none bf16 8 1", "1 none fp32 8 0",
    "3 none bf16 8 0", "2 none bf16 2 0",
)  # fmt: skip
_STAGE_RATE, _STAGE_GIB = (1.0, 0.97, 0.93, 0.78), (5.5, 4.1, 3.6, 2.7)
_BEATEN_BELOW = 0.7


def _point(number: int) -> dict[str, str]:
    return dict(zip(SPACE, _TRIED[number].split(), strict=True))


def _rate(point: Mapping[str, str], draw: random.Random) -> float:
    """Tokens/s of a made-up machine, whose speed drifts."""
    rate = 9000.0 * int(point["batch.micro_size"]) ** 0.45 * _STAGE_RATE[int(point["zero.stage"])]
    rate *= 1.3 if point["precision.mode"] == "bf16" else 1.0
    rate *= 0.62 if point["offload.optimizer"] == "cpu" else 1.0
    rate *= 0.8 if point["checkpointing.every_nth_block"] == "1" else 1.0
    return rate * draw.uniform(0.97, 1.03)


def _peak(point: Mapping[str, str]) -> int:
    """Bytes; with fp32 and the largest micro-batch it is more than there are."""
    states = _STAGE_GIB[int(point["zero.stage"])]
    states *= 0.7 if point["precision.mode"] == "bf16" else 1.0
    states -= 1.4 if point["offload.optimizer"] == "cpu" else 0.0
    kept = 0.45 if point["checkpointing.every_nth_block"] == "1" else 1.0
    return int((states + 1.6 * kept * int(point["batch.micro_size"])) * 2**30)


def full() -> list[Trial]:
    """Of every way in which a trial can end, and one that trains differently."""
    draw = random.Random(1)
    trials: list[Trial] = []
    best = 0.0
    for number in range(len(_TRIED)):
        point = _point(number)
        rate, peak = _rate(point, draw), _peak(point)
        outcome: Outcome = measured(rate, peak_bytes=peak, spread=0.015)
        if point["zero.stage"] == "0" and point["offload.optimizer"] == "cpu":
            reason = "offload.optimizer=cpu needs ZeRO stage 1, 2 or 3"
            outcome = Infeasible(rule="optimizer-offload-needs-zero", reason=reason)
        elif peak > MACHINE.host_memory_bytes:
            reason = f"host memory ran out during warm-up ({peak / 2**30:.1f} GiB)"
            outcome = OutOfMemory(memory="host", phase="warm-up", reason=reason)
        elif rate < _BEATEN_BELOW * best:
            steps = measured(rate, peak_bytes=peak, spread=0.03).measurement
            outcome = Stopped(measurement=steps, reason="clearly beaten")
        outcome = {
            13: Measured(measurement=replace(
                measured(rate, peak_bytes=peak).measurement, losses=(6.2, 6.16, 6.12, 6.1))),
            14: Crashed(reason="rank 0 died", exit_code=-9,
                        evidence="Traceback (most recent call last):\nRuntimeError: no such op"),
            15: TimedOut(phase="measure", reason="no step ended within 60 s"),
            17: Unsupported(reason="this CPU lacks AVX2, which DeepSpeed's CPU Adam needs"),
        }.get(number, outcome)  # fmt: skip
        best = max(best, rate) if isinstance(outcome, Measured) else best
        trials.append(at(number, outcome, **point))
    return trials


def full_study(path: Path) -> StudyFolder:
    """With all that a study can leave behind: finals, Optuna's journal, and what was predicted."""
    trials, draw = full(), random.Random(2)
    finalists = (7, 9, 16)
    again = play(
        Contest(finalists=finalists, baseline=0),
        lambda n, _: measured(_rate(_point(n), draw), peak_bytes=_peak(_point(n))),
    )
    predictions = {
        t.number: Prediction(
            peak_bytes=int(_peak(_point(t.number)) * draw.uniform(0.95, 1.08)),
            deviation_bytes=2**28,
        )
        for t in trials
        if not isinstance(t.outcome, Infeasible | Unsupported)
    }
    folder = recorded(
        path, trials, rounds=again.rounds, finalists=finalists, predictions=predictions,
        stop_reason="22 trials were run (n_trials=22)", study_name="full", space=SPACE, storage=None,
    )  # fmt: skip
    write_journal(folder, trials, "full")
    return folder


def small_study(path: Path) -> StudyFolder:
    """``small`` with its finals; of a tool that kept neither a journal nor predictions."""
    return recorded(
        path, small(), rounds=small_rounds(), finalists=(2, 1), study_name="small", space=SPACE
    )


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
