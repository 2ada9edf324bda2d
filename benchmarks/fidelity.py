"""The throughput that the sweeper reports against that of a plain DeepSpeed script of 50 steps.

Both run the exported configuration, in turn. ``python -m benchmarks.fidelity [ROUNDS]``
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.setting import publish, spec_of
from sweeper.core.folder import TrialFolder, read_json
from sweeper.core.outcome import Measured
from sweeper.core.spec import TrialSpec
from sweeper.run.launch import free_port, trial_environment
from sweeper.run.launchers import deepspeed_command
from sweeper.run.runners import runner

STEPS = 50
SETTLED_AFTER = 5  # of the plain script's steps
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
    print(f"{'candidate':>24}  {'reported':>9}  {'plain':>9}  difference of the medians")
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
                min_warmup_steps=5,
                max_warmup_steps=10,
                min_steps=STEPS - SETTLED_AFTER,
                max_steps=STEPS - SETTLED_AFTER,
                max_seconds=600.0,
                breakdown_steps=0,
            )
            runs = raw.setdefault(name, [])
            for number in range(rounds):
                folder = TrialFolder(Path(temporary) / f"{name}-{number}".replace(", ", "-"))
                order = (_reported, _plain) if number % 2 == 0 else (_plain, _reported)  # ABBA
                both = {how.__name__.strip("_"): how(spec, folder) for how in order}
                environment = (read_json(folder.result(0)) or {})["environment"]
                runs.append(both)
            tokens = spec.global_batch_size * spec.sequence_length
            ours, theirs = (
                [tokens / statistics.median(run[who]) for run in runs]
                for who in ("reported", "plain")
            )
            difference = statistics.median(ours) / statistics.median(theirs) - 1
            spread = max(theirs) / min(theirs) - 1
            print(
                f"{name:>24}  {statistics.median(ours):>9.0f}  {statistics.median(theirs):>9.0f}"
                f"  {difference:+.1%} (the plain script by itself varies by {spread:.1%})"
            )
    print(f"raw results: {publish('fidelity', {'runs': raw}, environment)}")


def _reported(spec: TrialSpec, folder: TrialFolder) -> list[float]:
    outcome = runner("deepspeed").run(spec, folder)
    assert isinstance(outcome, Measured), outcome
    return list(outcome.measurement.step_seconds)


def _plain(spec: TrialSpec, folder: TrialFolder) -> list[float]:
    folder.path.mkdir(parents=True, exist_ok=True)
    config, out = folder.path / "exported.json", folder.path / "plain.json"
    config.write_text(json.dumps(spec.ds_config))
    subprocess.run(
        [
            *deepspeed_command(spec, free_port()),
            SCRIPT,
            *(str(config), str(out), str(STEPS), json.dumps(spec.model_arguments)),
            str(spec.sequence_length),
        ],
        env={**os.environ, **trial_environment(spec)},
        check=True,
        capture_output=True,
    )
    seconds: list[float] = json.loads(out.read_text())
    return seconds[SETTLED_AFTER:]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
