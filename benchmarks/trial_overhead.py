"""The fixed cost of a trial under each runner, measured in turn in one run.

Fixed cost = wall time of the trial less what the ranks spent building the model, warming up and
measuring; starting, importing, connecting, ``deepspeed.initialize`` and ending are in it.
``python -m benchmarks.trial_overhead [ROUNDS]``
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.setting import publish, spec_of
from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Measured
from sweeper.run.runners import runner

WORK = ("build", "warm-up", "measure", "break-down")
RUNNERS = ("warm", "deepspeed", "torchrun")


def main(rounds: int) -> None:
    """Runs all, prints a table, writes results/published/trial_overhead.json."""
    spec = spec_of(
        {
            "hardware.ranks": 2,
            "zero": "stage1",
            "batch.micro_size": 8,
            "workload.global_batch_size": 32,
            "workload.sequence_length": 128,
        },
        min_warmup_steps=5,
        max_warmup_steps=10,
        min_steps=40,
        max_steps=40,
        max_seconds=60.0,
    )
    raw: dict[str, list[dict[str, float]]] = {name: [] for name in RUNNERS}
    environment = {}
    with tempfile.TemporaryDirectory() as temporary:
        # The forkserver starts with the first warm trial of a study: told apart from the others.
        for round_number in range(rounds + 1):
            for name in RUNNERS:
                if round_number == 0 and name != "warm":
                    continue
                folder = TrialFolder(Path(temporary) / f"{name}-{round_number}")
                start = time.perf_counter()
                outcome = runner(name).run(spec, folder)
                wall = time.perf_counter() - start
                assert isinstance(outcome, Measured), outcome
                results = [read_json(folder.result(rank)) or {} for rank in range(spec.ranks)]
                environment = results[0]["environment"]
                work = max(_work_seconds(r["phases_entered_at"]) for r in results)
                raw[name].append(
                    {
                        "round": round_number,
                        "wall_seconds": wall,
                        "work_seconds": work,
                        "fixed_seconds": wall - work,
                        "median_step_seconds": outcome.measurement.median_step_seconds,
                        "peak_bytes": outcome.measurement.peak_bytes,
                    }
                )
                print(f"{name:>10} round {round_number}: fixed {wall - work:.2f} s of {wall:.2f} s")
    path = publish("trial_overhead", {"runs": raw}, environment)
    print(
        f"\n{'runner':>10}  {'fixed (s)':>10}  {'step (ms)':>10}  {'over rounds':>15}  {'peak (MiB)':>10}"
    )
    medians = {}
    for name in RUNNERS:
        runs = [run for run in raw[name] if run["round"] > 0]
        medians[name] = {
            key: statistics.median(run[key] for run in runs)
            for key in ("fixed_seconds", "median_step_seconds", "peak_bytes")
        }
        m = medians[name]
        print(
            f"{name:>10}  {m['fixed_seconds']:>10.2f}  {1e3 * m['median_step_seconds']:>10.2f}"
            f"  {_range_ms(runs):>15}  {m['peak_bytes'] / 2**20:>10.0f}"
        )
    ratio = medians["deepspeed"]["fixed_seconds"] / medians["warm"]["fixed_seconds"]
    print(
        f"\ndeepspeed / warm: {ratio:.1f}; the first warm trial of a study: "
        f"{raw['warm'][0]['fixed_seconds']:.2f} s; raw results: {path}"
    )


def _range_ms(runs: list[dict[str, float]]) -> str:
    steps = [1e3 * run["median_step_seconds"] for run in runs]
    return f"{min(steps):.1f} to {max(steps):.1f}"


def _work_seconds(entered: dict[str, float]) -> float:
    """Of the phases that are the trial's own work."""
    ends = dict(zip(entered, [*entered.values()][1:], strict=False))
    return sum(ends[phase] - entered[phase] for phase in WORK)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
