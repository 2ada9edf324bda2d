"""DeepSpeed's own autotuner against a study of ours: same model, ranks, stages and micro-batches.

One after the other in one run; then what each picked is trained by one neutral script, in turn.
``python -m benchmarks.versus_autotuner [ROUNDS]``; needs tabulate, as the autotuner does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.neutral import Config, in_turn, script, start, time_limit, wait_for
from benchmarks.setting import publish, spec_of
from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured
from sweeper.core.spec import TrialSpec
from sweeper.places import extensions_dir
from sweeper.run.launch import free_port, trial_environment
from sweeper.run.launchers import deepspeed_command

MICRO_SIZES = (1, 2, 4, 8, 16)
SETTING = {
    "hardware.ranks": 2,
    "workload.global_batch_size": 32,  # the largest micro-batch without accumulation
    "workload.sequence_length": 64,
}
# The autotuner's trial is six steps, one of them timed; a quick one of ours is four to nine.
EFFORTS = {
    "quick": (
        "hydra.sweeper.n_trials=6",
        "hydra.sweeper.finalists=2",
        "hydra.sweeper.finalist_rounds=3",
    ),
}
# The autotuner has no limit of its own: a trial that hangs would hang it for ever.
TIMEOUT_SECONDS = 1800


def main(rounds: int) -> None:
    """Runs all, prints a table, writes results/published/versus_autotuner.json."""
    if importlib.util.find_spec("tabulate") is None:
        raise SystemExit("DeepSpeed's autotuner needs tabulate: pip install -e '.[benchmarks]'")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    spec = spec_of(SETTING)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(spec, Path(temporary))
        print("building DeepSpeed's ops with its own loader, not timed")
        bench.build()
        autotuner = bench.autotuner()
        print(f"autotuner: {autotuner['wall_seconds']:.1f} s, {autotuner['num_launches']} launches")
        studies = {}
        for effort in EFFORTS:
            studies[effort], environment = bench.study(effort)
            wall_seconds, trials = (studies[effort][key] for key in ("wall_seconds", "trials"))
            print(f"sweeper, measure={effort}: {wall_seconds:.1f} s, {len(trials)} trials")
        configs = _to_measure(autotuner["pick"], studies, spec)
        step_seconds = in_turn(configs, spec, bench.folder, bench.environment, rounds=rounds)
    document = {
        "setting": {**SETTING, "model": spec.model_arguments, "micro_sizes": MICRO_SIZES},
        "autotuner": autotuner,
        "sweeper": studies,
        "neutral": {"configs": configs, "step_seconds": step_seconds},
    }
    path = publish("versus_autotuner", document, environment)
    _print(document)
    print(f"raw results: {path}")


class Bench:
    """Runs commands in a folder, and leaves none of them running."""

    def __init__(self, spec: TrialSpec, folder: Path) -> None:
        self._spec = spec
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        # After every trial the autotuner runs ``pkill -f <its name>`` by pdsh, also on one machine:
        # it fails where there is no pdsh, and might end somebody else's process where there is.
        (programs / "pdsh").write_text("#!/bin/sh\nexit 0\n")
        (programs / "pdsh").chmod(0o755)
        shared = trial_environment(spec)
        # Ours knows nothing of the model yet either; only what is compiled is there for both.
        cache = folder / "cache"
        cache.mkdir()
        (cache / "torch_extensions").symlink_to(extensions_dir().parent)
        self._ours = {"SWEEPER_CACHE_DIR": str(cache)}
        self.environment = {
            **shared,
            # Its loader would build ours anew: the paths of the compiler are another's.
            "TORCH_EXTENSIONS_DIR": str(folder / "torch_extensions"),
            "PATH": os.pathsep.join([str(programs), shared["PATH"]]),
        }

    def build(self) -> None:
        """Trains two steps, so that the ops are built and the files are in memory."""
        config = {**_shared(self._spec), "train_micro_batch_size_per_gpu": 1}
        launcher = deepspeed_command(self._spec, free_port())
        training = script(config, self._spec, self.folder, "build")
        self._run([*launcher, *training, "--steps=2"], self.environment, "build")

    def autotuner(self) -> dict[str, Any]:
        """In its default, fast mode."""
        results = self.folder / "autotuning_results"
        config = {
            **_shared(self._spec),
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": "all"},
            "autotuning": {
                "enabled": True,
                "fast": True,
                "max_train_micro_batch_size_per_gpu": max(MICRO_SIZES),
                "results_dir": str(results),
                "exps_dir": str(self.folder / "autotuning_exps"),
            },
        }
        launcher = ["deepspeed", "--autotuning", "tune", f"--master_port={free_port()}"]
        command = [*launcher, *script(config, self._spec, self.folder, "autotuner")]
        wall_seconds = self._run(command, self.environment, "autotuner")
        return {
            "wall_seconds": wall_seconds,
            "config": {k: v for k, v in config.items() if k != "autotuning"},
            "num_launches": len(list(results.glob("*/cmd.txt"))),  # the profile trial is one
            "metrics": {
                path.parent.name: read_json(path) for path in sorted(results.glob("*/metrics.json"))
            },
            "summary": (results / "summary.txt").read_text().splitlines(),
            "pick": json.loads((results / "ds_config_optimal.json").read_text()),
        }

    def study(self, effort: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ours, as a user types it, and the environment that its ranks saw."""
        folder = StudyFolder(self.folder / f"study-{effort}")
        arguments = [
            *("+model=gpt2-nano", "hydra/sweeper=optuna", "space=none", "launch=warm"),
            "zero=choice(stage0,stage1,stage2,stage3)",
            f"batch.micro_size=choice({','.join(str(m) for m in MICRO_SIZES)})",
            *(f"{name}={value}" for name, value in SETTING.items()),
            *(f"measure={effort}", *EFFORTS[effort]),
        ]
        command = [sys.executable, "-m", "sweeper", *arguments, f"hydra.sweep.dir={folder.path}"]
        wall_seconds = self._run(command, self._ours, folder.path.name)
        trials = [
            {
                "point": dict(trial.point),
                "outcome": type(trial.outcome).__name__,
                "tokens_per_second": trial.outcome.measurement.tokens_per_second
                if isinstance(trial.outcome, Measured)
                else None,
            }
            for trial in folder.read_trials()
        ]
        environment = (read_json(folder.trial(0).result(0)) or {})["environment"]
        study = {"wall_seconds": wall_seconds, "arguments": arguments, "trials": trials}
        return {**study, "pick": json.loads(folder.best_ds_config.read_text())}, environment

    def _run(self, command: list[str], environment: dict[str, str], name: str) -> float:
        """Wall seconds of a command that ends well."""
        before = time.perf_counter()
        group = start(command, environment, self.folder, name)
        try:
            with time_limit(TIMEOUT_SECONDS, name):
                exit_code = wait_for(group)
            wall_seconds = time.perf_counter() - before
        finally:
            group.end()
        if exit_code != 0:
            ends = [
                (self.folder / f"{name}.{end}").read_text(errors="replace")[-3000:]
                for end in ("out", "err")
            ]
            raise SystemExit(f"{name} ended with exit code {exit_code}:\n" + "\n".join(ends))
        return wall_seconds


def _shared(spec: TrialSpec) -> Config:
    """What both sides are given: optimizer, clipping, precision; no batch, no ZeRO."""
    own = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    return {k: v for k, v in spec.ds_config.items() if k not in own and k != "zero_optimization"}


def _to_measure(
    autotuners: Config, studies: dict[str, dict[str, Any]], spec: TrialSpec
) -> dict[str, Config]:
    """All picks at the global batch of ours; the autotuner's as it is too, where that differs."""
    share = spec.global_batch_size // spec.ranks
    asked = autotuners["train_micro_batch_size_per_gpu"]
    micro = max(m for m in range(1, asked + 1) if share % m == 0)
    fixed = {
        **autotuners,
        "train_batch_size": spec.global_batch_size,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": share // micro,
    }
    configs = {"autotuner": fixed}
    if fixed != autotuners:
        configs["autotuner, as exported"] = autotuners
    return configs | {f"sweeper, {effort}": study["pick"] for effort, study in studies.items()}


def _print(document: dict[str, Any]) -> None:
    autotuner, neutral = document["autotuner"], document["neutral"]
    searches = {"autotuner": (autotuner["wall_seconds"], autotuner["num_launches"])} | {
        f"sweeper, {effort}": (study["wall_seconds"], len(study["trials"]))
        for effort, study in document["sweeper"].items()
    }
    print(
        f"\n{'':>22}  wall (s)  share  trials  stage  micro x steps  tokens/s"
        "  against the autotuner's, and in each round"
    )
    speeds = {
        name: [
            [config["train_batch_size"] * SETTING["workload.sequence_length"] / s for s in seconds]
            for seconds in neutral["step_seconds"][name]
        ]
        for name, config in neutral["configs"].items()
    }
    for name, config in neutral["configs"].items():
        wall, trials = searches.get(name, (None, ""))
        cost = "" if wall is None else f"{wall:>8.1f}  {wall / autotuner['wall_seconds']:>5.2f}"
        # Of steps that were taken one right after the other.
        ratios = [
            [ours / its for ours, its in zip(*pair, strict=True)]
            for pair in zip(speeds[name], speeds["autotuner"], strict=True)
        ]
        print(
            f"{name:>22}  {cost:>15}  {trials:>6}  {config['zero_optimization']['stage']:>5}"
            f"  {config['train_micro_batch_size_per_gpu']:>5} x"
            f" {config['gradient_accumulation_steps']:<5}"
            f"  {statistics.median(s for run in speeds[name] for s in run):>8.0f}"
            f"  {statistics.median(r for run in ratios for r in run):.3f}"
            f" ({', '.join(f'{statistics.median(run):.3f}' for run in ratios)})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
