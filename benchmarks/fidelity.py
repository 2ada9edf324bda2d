"""The throughput that the sweeper reports against that of a plain DeepSpeed script of 50 steps.

Both run the exported configuration at the same time and take their steps in turn: this machine's
own speed changes by more, within seconds, than what is looked for.
``python -m benchmarks.fidelity [ROUNDS]``
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.baton import Runner
from benchmarks.setting import publish, spec_of
from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Measured
from sweeper.core.spec import TrialSpec
from sweeper.run.launch import free_port, trial_environment
from sweeper.run.launchers import deepspeed_command
from sweeper.run.runners import runner

STEPS = 50
# OpenMP's threads go on spinning for some 15 ms after a step, at the cost of the other's next one.
REST_SECONDS = 0.05
SETTLED_AFTER = 5  # of the plain script's steps; the sweeper's warm-up is as long
SCRIPT = str(Path(__file__).with_name("plain_script.py"))
SMALL = {"model.layers": 4, "model.width": 256, "model.heads": 4, "model.vocab_size": 4096}
CANDIDATES: dict[str, dict[str, Any]] = {
    "zero0": {},
    "zero1, accumulation 16": {"zero": "stage1", "batch.micro_size": 1},
    "zero2, offload": {"zero": "stage2", "offload": "optimizer", "batch.micro_size": 16},
    "zero3": {"zero": "stage3", "batch.micro_size": 8},
    "bf16, zero1": {"zero": "stage1", "precision": "bf16", "batch.micro_size": 8},
}


def main(rounds: int) -> None:
    """Runs all, prints a table, writes results/published/fidelity.json."""
    raw: dict[str, list[dict[str, Any]]] = {}
    environment: dict[str, Any] = {}
    print(f"{'candidate':>24}  {'reported':>9}  {'plain':>9}  difference, and of each round")
    with tempfile.TemporaryDirectory() as temporary:
        for name, changes in CANDIDATES.items():
            spec = spec_of(
                {
                    **SMALL,
                    "batch.micro_size": 4,
                    "workload.global_batch_size": 16,
                    "workload.sequence_length": 64,
                    **changes,
                },
                min_warmup_steps=SETTLED_AFTER,
                max_warmup_steps=SETTLED_AFTER,
                min_steps=STEPS - SETTLED_AFTER,
                max_steps=STEPS - SETTLED_AFTER,
                max_seconds=600.0,
                breakdown_steps=0,
            )
            tokens = spec.global_batch_size * spec.sequence_length
            runs = raw.setdefault(name, [])
            for number in range(rounds):
                folder = TrialFolder(Path(temporary) / f"{name}-{number}".replace(", ", "-"))
                runs.append(_side_by_side(spec, folder, reported_first=number % 2 == 0))
                environment = (read_json(folder.result(0)) or {})["environment"]
            pooled = {
                who: tokens / statistics.median(s for run in runs for s in run[who])
                for who in ("reported", "plain")
            }
            each = [[p / r - 1 for p, r in zip(*_pair(run), strict=True)] for run in runs]
            print(
                f"{name:>24}  {pooled['reported']:>9.0f}  {pooled['plain']:>9.0f}"
                f"  {statistics.median(difference for run in each for difference in run):+.1%}"
                f"  ({', '.join(f'{statistics.median(run):+.1%}' for run in each)})"
            )
    print(
        "the sweeper's own process took at most "
        f"{max(run['parent_cpu_share'] for runs in raw.values() for run in runs):.1%} of one core"
    )
    print(f"raw results: {publish('fidelity', {'runs': raw}, environment)}")


def _pair(run: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Steps that were taken one right after the other."""
    return run["plain"], run["reported"]


def _side_by_side(spec: TrialSpec, folder: TrialFolder, *, reported_first: bool) -> dict[str, Any]:
    """Seconds of each step of both, and what share of a core the parent took meanwhile."""
    folder.path.mkdir(parents=True, exist_ok=True)
    ours, plain = Runner(folder.path, "reported"), Runner(folder.path, "plain")
    wall, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(2) as pool:
        reported = pool.submit(_reported, spec, folder, ours)
        by_script = pool.submit(_plain, spec, folder, plain)
        pairs = [(ours, reported), (plain, by_script)]
        for each, _ in pairs:
            each.wait()
        for step in range(STEPS):
            in_turn = pairs if (step % 2 == 0) == reported_first else pairs[::-1]  # ABBA
            for each, training in in_turn:
                time.sleep(REST_SECONDS)
                each.hand_over()
                if step < STEPS - 1:
                    each.wait()
                else:
                    training.result()
        share = (time.process_time() - cpu) / (time.monotonic() - wall)
        seconds = {"reported": reported.result(), "plain": by_script.result()}
    ours.close()
    plain.close()
    return {**seconds, "parent_cpu_share": share}


def _reported(spec: TrialSpec, folder: TrialFolder, baton: Runner) -> list[float]:
    waiting = replace(
        spec,
        model_target="benchmarks.baton.build",
        model_arguments={**spec.model_arguments, "baton": str(baton.path)},
    )
    outcome = runner("warm").run(waiting, folder)
    assert isinstance(outcome, Measured), outcome
    return list(outcome.measurement.step_seconds)


def _plain(spec: TrialSpec, folder: TrialFolder, baton: Runner) -> list[float]:
    config, out = folder.path / "exported.json", folder.path / "plain.json"
    config.write_text(json.dumps(spec.ds_config))
    subprocess.run(
        [
            *deepspeed_command(spec, free_port()),
            SCRIPT,
            *(str(config), str(out), str(STEPS), json.dumps(spec.model_arguments)),
            *(str(spec.sequence_length), str(baton.path)),
        ],
        env={**os.environ, **trial_environment(spec)},
        check=True,
        capture_output=True,
    )
    seconds: list[float] = json.loads(out.read_text())
    return seconds[SETTLED_AFTER:]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
