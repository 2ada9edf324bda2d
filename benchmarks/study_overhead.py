"""What a study itself costs: ask, plan, record and tell, while its trials grow to a thousand.

The trials are answered at once from a formula; everything else is what a study does, with Optuna's
journal and trial folders on disk. ``python -m benchmarks.study_overhead [TRIALS]``
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.grids import GRIDS, MACHINE
from benchmarks.setting import publish
from sweeper.core.folder import StudyFolder, write_json
from sweeper.core.foresight import Foresight
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Infeasible, Measured, Outcome, Unsupported
from sweeper.core.plan import Plan, plan
from sweeper.core.settings import with_values
from sweeper.core.space import Choice, IntRange, Point, SearchSpace, as_overrides
from sweeper.core.spec import TrialSpec
from sweeper.core.study import Budget, Study
from sweeper.core.trial import Trial, trial_of_plan
from sweeper.run.model_profile import model_profile
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import GUIDED, open_study

SPACE = SearchSpace(
    parameters={
        "zero.stage": Choice(values=("0", "1", "2", "3")),
        "offload.optimizer": Choice(values=("none", "cpu")),
        "batch.micro_size": Choice(values=("1", "2", "4", "8", "16")),
        "checkpointing.every_nth_block": Choice(values=("0", "1", "2")),
        "zero.reduce_bucket_size": IntRange(low=1_000_000, high=500_000_000, log=True),
        "zero.sub_group_size": IntRange(low=1_000_000, high=1_000_000_000, log=True),
    }
)
WINDOW = 100  # trials over which the cost is a median


class FormulaRunner:
    """Answers at once, and leaves the trial in its folder."""

    def __init__(self, folder: StudyFolder, foresight: Foresight) -> None:
        self._folder = folder
        self._foresight = foresight
        self.done_at: list[float] = []

    def run(self, number: int, point: Point, planned: Plan) -> Trial:
        """Records what the formula says."""
        outcome: Outcome
        if isinstance(planned.ready, Infeasible | Unsupported):
            outcome = planned.ready
        else:
            outcome = Measured(measurement=_answer(planned.ready, point))
        trial = trial_of_plan(
            planned,
            outcome,
            number=number,
            point=point,
            overrides=as_overrides(point),
            memory_limit_bytes=MACHINE.host_memory_bytes,
        )
        write_json(self._folder.trial(number).trial, trial.to_json())
        self._foresight.learn(trial)
        self.done_at.append(time.perf_counter())
        return trial


def _answer(spec: TrialSpec, point: Point) -> Measurement:
    size = math.log(float(point.get("zero.reduce_bucket_size", 1e8)))
    step = (1.0 + 0.1 * abs(size - 17)) * (1 + 1 / spec.micro_size)
    return Measurement(
        step_seconds=tuple(step * (1 + 0.01 * (i % 3)) for i in range(9)),
        warmup_step_seconds=(step,),
        skipped_steps=0,
        losses=(6.0, 5.9),
        breakdown_seconds={},
        flops_per_step=None,
        memory=(),
        samples_per_step=16,
        tokens_per_step=1024,
        ranks=1,
        peak_device_allocated_bytes=None,
        peak_device_reserved_bytes=None,
        peak_host_resident_bytes=400 * 2**20 + 2**20 * spec.micro_size,
    )


def main(trials: int) -> None:
    """Runs the study, prints the cost of a trial as it grows, writes study_overhead.json."""
    base = replace(GRIDS["gpt2-nano"]).settings(GRIDS["gpt2-nano"].baseline)
    foresight = Foresight(model_profile, MACHINE)

    def planned(point: Point) -> Plan:
        numbers = {n: int(v) if v.isdigit() else v for n, v in point.items()}
        return foresight.planned(plan(with_values(base, numbers), MACHINE))

    with tempfile.TemporaryDirectory() as temporary:
        folder = StudyFolder(Path(temporary) / "study")
        runner = FormulaRunner(folder, foresight)
        study = open_study(
            space=SPACE,
            sampler={"_target_": GUIDED},
            storage=None,
            journal=folder.journal,
            study_name="overhead",
            directions=["maximize"],
            seed=1,
        )
        sampler = OptunaSampler(
            SPACE,
            study,
            seed=1,
            likelihood=lambda point: foresight.likelihood(planned(point)),
            guided=True,
        )
        baseline = {
            n: (d.points() or ("1",))[0]
            for n, d in SPACE.parameters.items()
            if isinstance(d, Choice)
        }
        baseline |= {"zero.reduce_bucket_size": "5000000", "zero.sub_group_size": "5000000"}
        Study(
            sampler=sampler,
            plan=planned,
            runner=runner,
            budget=Budget(trials=trials),
            clock=time.monotonic,
        ).run(baseline)
    costs = [1e3 * (b - a) for a, b in zip(runner.done_at, runner.done_at[1:], strict=False)]
    windows = {
        start + WINDOW: statistics.median(costs[start : start + WINDOW])
        for start in range(0, len(costs) - WINDOW // 2, WINDOW)
    }
    for finished, milliseconds in windows.items():
        print(f"{finished:>6} trials: {milliseconds:.1f} ms a trial")
    path = publish("study_overhead", {"milliseconds_by_trials": windows}, {})
    print(json.dumps(str(path)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
