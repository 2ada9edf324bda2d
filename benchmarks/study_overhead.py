"""What a study itself costs: ask, plan, record and tell, while its trials grow to a thousand.

The trials are answered at once from a formula; everything else is what a study does, with Optuna's
journal and trial folders on disk. Then a short real study: what passes between the end of one trial's
processes and the start of the next one's, with the Hydra job that each trial is.
``python -m benchmarks.study_overhead [TRIALS]``
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from benchmarks.grids import MACHINE
from benchmarks.setting import ROOT, publish
from sweeper.core.files import write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Infeasible, Measured, Outcome, Unsupported
from sweeper.core.plan import Plan
from sweeper.core.space import Point, as_overrides
from sweeper.core.spec import TrialSpec
from sweeper.core.study import Budget, Study
from sweeper.core.trial import Trial, trial_of_plan
from sweeper.hydra_edge import schema
from sweeper.hydra_edge.compose import Composer
from sweeper.hydra_edge.conditions import Conditions, options_first
from sweeper.hydra_edge.expressions import read
from sweeper.hydra_edge.hydra_versions import VERSION_BASE
from sweeper.hydra_edge.planner import Planner
from sweeper.places import conf_dir
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import open_study
from sweeper.search.samplers import GUIDED

EXPRESSIONS = [
    "zero=choice(stage0,stage1,stage2,stage3)",
    "offload=choice(none,optimizer)",
    "batch.micro_size=choice(1,2,4,8,16)",
    "checkpointing.every_nth_block=choice(0,1,2)",
    "zero.reduce_bucket_size=tag(log,int(interval(1000000,500000000)))",
    "zero.sub_group_size=tag(log,int(interval(1000000,1000000000)))",
]
REAL_STUDY = [
    *(sys.executable, "-m", "sweeper", "+model=gpt2-nano", "hydra/sweeper=optuna"),
    *("measure=quick", "hydra.sweeper.n_trials=12", "hydra.sweeper.finalists=0"),
]
WINDOW = 100  # trials over which the cost is a median


class FormulaRunner:
    """Answers at once, and leaves the trial in its folder."""

    def __init__(self, folder: StudyFolder, planner: Planner) -> None:
        self._folder = folder
        self._planner = planner
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
        self._planner.learn(trial)
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


@contextlib.contextmanager
def _composer() -> Iterator[Composer]:
    """Hydra as the command line starts it."""
    schema.register()
    fixed = ["+model=gpt2-nano", "hardware.ranks=2", "workload.global_batch_size=16"]
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        hydra = GlobalHydra.instance().hydra
        typed = [*fixed, "hydra/sweeper=optuna"]
        master = hydra.compose_config("config", typed, run_mode=RunMode.MULTIRUN, from_shell=False)
        yield Composer(hydra.config_loader, master, fixed)


def between_real_trials() -> tuple[list[float], dict[str, Any]]:
    """Milliseconds, and the environment."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = StudyFolder(Path(temporary) / "study")
        subprocess.run([*REAL_STUDY, f"hydra.sweep.dir={folder.path}"], cwd=ROOT, check=True)
        trials = sorted(
            (t for t in folder.read_trials() if t.wall_seconds), key=lambda t: t.started_at
        )
    gaps = [
        1e3 * (after.started_at - before.started_at - before.wall_seconds)
        for before, after in itertools.pairwise(trials)
    ]
    return gaps, dict(trials[0].environment)


def main(trials: int) -> None:
    """Runs both, prints the cost of a trial as it grows, writes study_overhead.json."""
    space = options_first(read(EXPRESSIONS, {}).space)
    baseline = {
        name: (domain.points() or ("5000000",))[0] for name, domain in space.parameters.items()
    }
    with _composer() as composer, tempfile.TemporaryDirectory() as temporary:
        planner = Planner(composer)
        planner.look_from(MACHINE, [])
        folder = StudyFolder(Path(temporary) / "study")
        runner = FormulaRunner(folder, planner)
        optuna_study = open_study(
            space=space,
            sampler={"_target_": GUIDED},
            storage=None,
            journal=folder.journal,
            study_name="overhead",
            directions=["maximize"],
            seed=1,
        )
        sampler = OptunaSampler(
            space,
            optuna_study,
            seed=1,
            acts=Conditions(composer, space).acts,
            likelihood=planner.likelihood,
            guided=True,
        )
        study = Study(
            sampler=sampler,
            plan=planner.plan,
            runner=runner,
            budget=Budget(trials=trials),
            clock=time.monotonic,
        )
        print(study.run(baseline).stop_reason)
    costs = [1e3 * (b - a) for a, b in zip(runner.done_at, runner.done_at[1:], strict=False)]
    windows = {
        start + WINDOW: statistics.median(costs[start : start + WINDOW])
        for start in range(0, len(costs) - WINDOW // 2, WINDOW)
    }
    for finished, milliseconds in windows.items():
        print(f"{finished:>6} trials: {milliseconds:.1f} ms a trial")
    gaps, environment = between_real_trials()
    print(f"between two trials of a real study: {statistics.median(gaps):.0f} ms")
    document = {"milliseconds_by_trials": windows, "milliseconds_between_real_trials": gaps}
    path = publish("study_overhead", document, environment)
    print(json.dumps(str(path)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
