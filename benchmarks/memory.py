"""Predicted against measured peaks of memory, cold and calibrated, on trials never used for fitting.

``python -m benchmarks.memory --measure`` runs a seeded random set of trials and appends each to
``memory-trials.csv``; without it the set is evaluated into ``memory.json``. The formulas and the
priors were developed on draws with the seeds 1 to 3, which are not in this set.
"""

from __future__ import annotations

import csv
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.grids import MACHINE
from benchmarks.setting import PUBLISHED, publish, run_alone, settings_of
from sweeper.core.measurement import Measurement
from sweeper.core.memory.calibration import Calibration, MemoryEstimate, fits, surely_too_large
from sweeper.core.memory.model import MemoryNeed, memory_need
from sweeper.core.outcome import Measured, Outcome
from sweeper.core.plan import candidate_key, plan
from sweeper.core.settings import Settings
from sweeper.core.spec import TrialSpec
from sweeper.run.model_profile import profiled
from sweeper.terminal import summary

CSV = PUBLISHED / "memory-trials.csv"
SEED = 4
NUM_LEARNED = 10
LIMITS = tuple(n / 100 for n in range(70, 131, 5))  # as shares of what a trial needed
FIELDS = ("group", "changes", "peak_bytes", "phase_peaks", "wall_seconds", "kind", "environment")
MODELS: Mapping[str, tuple[int, dict[str, Any]]] = {  # with the number of trials
    "gpt2": (15, {"model": "gpt2"}),
    "gpt2-34m": (
        43,
        {
            "model": "gpt2-nano",
            "model.layers": 8,
            "model.width": 512,
            "model.heads": 8,
            "model.vocab_size": 16384,
            "model.max_positions": 512,
        },
    ),
    "llama-34m": (
        43,
        {
            "model": "llama-nano",
            "model.layers": 6,
            "model.width": 512,
            "model.heads": 8,
            "model.kv_heads": 4,
            "model.feed_forward_width": 1376,
            "model.vocab_size": 16384,
            "model.max_positions": 512,
            "model.tied": False,
        },
    ),
    "bert-28m": (
        43,
        {
            "model": "bert-nano",
            "model.layers": 4,
            "model.width": 512,
            "model.heads": 8,
            "model.vocab_size": 30522,
            "model.max_positions": 512,
        },
    ),
}
MEASURE = {
    "measure.min_warmup_steps": 1,
    "measure.max_warmup_steps": 1,
    "measure.min_steps": 3,
    "measure.max_steps": 3,
    "measure.breakdown_steps": 0,
    "launch": "warm",
}


def drawn(group: str, random_: random.Random) -> dict[str, Any]:
    """Changes to the default configuration: a point of what the plan knows, legal or not."""
    layout = random_.choice(["data"] * 6 + ["tensor2", "pipeline2", "sequence2"])
    ranks = 2 if layout != "data" else random_.choice([1, 2])
    most = 128 if group == "gpt2" else 512  # tokens that two cores train on in seconds
    length = random_.choice([n for n in (32, 64, 128, 256, 512) if n <= most])
    micro = random_.choice([n for n in (1, 2, 4, 8) if n * length <= most])
    data_parallel = ranks if layout == "data" else 1
    changes: dict[str, Any] = {
        **MODELS[group][1],
        **MEASURE,
        "hardware.ranks": ranks,
        "parallel": layout,
        "zero": random_.choice(["stage0", "stage1", "stage2", "stage3"]),
        "offload": random_.choice(["none"] * 4 + ["optimizer", "optimizer_and_params", "partial"]),
        "precision": random_.choice(["fp32", "bf16", "autocast_bf16"]),
        "checkpointing": random_.choice(["none", "none", "full", "every_second"]),
        "batch.micro_size": micro,
        "workload.sequence_length": length,
        "workload.global_batch_size": micro * data_parallel * random_.choice([1, 2]),
    }
    sometimes = {
        "zero.reduce_bucket_size": [1_000_000, 5_000_000, 20_000_000],
        "zero.allgather_bucket_size": [1_000_000, 5_000_000],
        "zero.sub_group_size": [4_000_000, 10_000_000],
        "zero.stage3_param_persistence_threshold": [0, 1_000_000],
        "zero.stage3_max_live_parameters": [0, 10_000_000],
        "zero.stage3_prefetch_bucket_size": [0, 1_000_000],
        "zero.contiguous_gradients": [False],
        "zero.reduce_scatter": [False],
        "optimizer.implementation": ["foreach", "plain"],
        "precision.grad_accum_dtype": ["fp32"],
        "comm.dtype": ["bf16", "fp32"],
    }
    for name, values in sometimes.items():
        if random_.random() < 0.2:
            changes[name] = random_.choice(values)
    if changes["offload"] == "partial" and "zero.sub_group_size" not in changes:
        changes["zero.sub_group_size"] = 5_000_000
    return changes


def trials(seed: int, share: float = 1.0) -> Iterator[tuple[str, dict[str, Any], TrialSpec]]:
    """Each piece of work once; the groups take turns."""
    random_ = random.Random(seed)
    left = {group: round(count * share) for group, (count, _) in MODELS.items()}
    keys = set()
    while any(left.values()):
        for group in [g for g, n in left.items() if n]:
            changes = drawn(group, random_)
            planned = plan(settings_of(changes), MACHINE)
            if isinstance(planned.ready, TrialSpec) and planned.key not in keys:
                keys.add(planned.key)
                left[group] -= 1
                yield group, changes, planned.ready


def measure(seed: int, share: float, path: Path) -> None:
    """Appends what is not in ``path`` yet, a row as soon as it is measured."""
    known = {row["changes"] for row in rows(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for group, changes, spec in trials(seed, share):
            key = json.dumps(changes, sort_keys=True)
            if key in known:
                continue
            outcome, wall_seconds, environment = run_alone(spec)
            writer.writerow(_row(group, key, outcome, wall_seconds, environment))
            file.flush()
            print(f"{group:<12} {wall_seconds:6.1f} s  {summary(outcome)}", flush=True)


def _row(
    group: str, key: str, outcome: Outcome, wall_seconds: float, environment: dict[str, Any]
) -> dict[str, Any]:
    row = {
        "group": group,
        "changes": key,
        "wall_seconds": round(wall_seconds, 3),
        "kind": type(outcome).__name__,
        "environment": json.dumps({k: v for k, v in environment.items() if k != "host"}),
    }
    if isinstance(outcome, Measured):
        m = outcome.measurement
        phases = {
            phase: max(rank[phase]["host_peak_resident_bytes"] or 0 for rank in m.memory)
            for phase in m.memory[0]
        }
        row |= {"peak_bytes": m.peak_bytes, "phase_peaks": json.dumps(phases)}
    return row


def rows(path: Path) -> list[dict[str, str]]:
    """What has been measured so far."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def acting(row: Mapping[str, str]) -> Settings:
    """The settings that a row was measured with, without those that do nothing."""
    return plan(settings_of(json.loads(row["changes"])), MACHINE).settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A measured trial, and what was foreseen of it without one."""

    group: str
    settings: Settings
    need: MemoryNeed
    outcome: Measured

    @property
    def peak_bytes(self) -> int:
        return self.outcome.measurement.peak_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of a case that was not learned from; ``estimate`` is of the resident peak alone."""

    case: Case
    estimate: MemoryEstimate

    @property
    def error(self) -> float:
        """Relative; above zero too much was foreseen."""
        return self.estimate.mean_bytes / self.case.peak_bytes - 1.0

    @property
    def deviations(self) -> float:
        """By how many of its own standard deviations it was off."""
        return (self.estimate.mean_bytes - self.case.peak_bytes) / self.estimate.deviation_bytes


def cases(path: Path) -> Iterator[Case]:
    """The rows that were measured."""
    for row in rows(path):
        if row["kind"] != "Measured":
            continue
        settings = acting(row)
        found = profiled(settings.model_target, settings.model_arguments)
        assert found.profile is not None, found.reason
        yield Case(
            group=row["group"],
            settings=settings,
            need=memory_need(settings, found.profile),
            outcome=_outcome(int(row["peak_bytes"])),
        )


def _outcome(peak_bytes: int) -> Measured:
    """With the peak that was measured; of times nothing is learned here."""
    return Measured(
        measurement=Measurement(
            step_seconds=(1.0,),
            warmup_step_seconds=(),
            skipped_steps=0,
            losses=(),
            breakdown_seconds={},
            flops_per_step=None,
            memory=(),
            samples_per_step=1,
            tokens_per_step=1,
            ranks=1,
            peak_device_allocated_bytes=None,
            peak_device_reserved_bytes=None,
            peak_host_resident_bytes=peak_bytes,
        )
    )


def predictions(group: Sequence[Case], num_learned: int) -> list[Prediction]:
    """Of all cases but the first, after these were learned from."""
    calibration = Calibration()
    for case in group[:num_learned]:
        calibration.learn(case.settings, case.need, case.outcome)
    estimates = [calibration.estimate(c.settings, c.need) for c in group[num_learned:]]
    return [
        Prediction(case=case, estimate=replace(estimate, untouched_bytes=0.0))
        for case, estimate in zip(group[num_learned:], estimates, strict=True)
    ]


def evaluate(path: Path) -> dict[str, Any]:
    """Each group is calibrated with trials of its own and tested on its other trials."""
    shuffled = list(cases(path))
    random.Random(SEED).shuffle(shuffled)
    groups = {g: [c for c in shuffled if c.group == g] for g in MODELS}
    # Both on the same trials, so that they can be compared.
    cold = [p for group in groups.values() for p in predictions(group[NUM_LEARNED:], num_learned=0)]
    calibrated = [p for group in groups.values() for p in predictions(group, NUM_LEARNED)]
    return {
        "trials_measured": len(shuffled),
        "learned_from_in_each_group": NUM_LEARNED,
        "cold": _scores(cold),
        "calibrated": _scores(calibrated),
        "by_model": _by(cold, calibrated, lambda case: case.group),
        "by_stage": _by(cold, calibrated, lambda case: f"stage {case.settings.zero.stage}"),
        "by_layout": _by(cold, calibrated, _layout),
        "predictions": [
            {
                "group": p.case.group,
                "key": candidate_key(p.case.settings),
                "peak_bytes": p.case.peak_bytes,
                "cold_bytes": round(before.estimate.mean_bytes),
                "calibrated_bytes": round(p.estimate.mean_bytes),
                "deviation_bytes": round(p.estimate.deviation_bytes),
                "components": {**p.case.need.host, **p.case.need.device},
            }
            for before, p in zip(cold, calibrated, strict=True)
        ],
    }


def _layout(case: Case) -> str:
    degrees = case.settings.parallel
    named = {"tensor": degrees.tensor, "pipeline": degrees.pipeline, "sequence": degrees.sequence}
    split = [f"{name} {degree}" for name, degree in named.items() if degree > 1]
    return split[0] if split else f"data {case.settings.hardware.ranks}"


def _by(
    cold: list[Prediction], calibrated: list[Prediction], name: Callable[[Case], str]
) -> dict[str, Any]:
    return {
        which: {
            "cold": _scores([p for p in cold if name(p.case) == which]),
            "calibrated": _scores([p for p in calibrated if name(p.case) == which]),
        }
        for which in sorted({name(p.case) for p in cold})
    }


def _scores(found: list[Prediction]) -> dict[str, Any]:
    errors = [abs(p.error) for p in found]
    verdicts = [_verdict(p, share) for p in found for share in LIMITS]
    return {
        "trials": len(found),
        "mean_error": statistics.mean(errors),
        "worst_error": max(errors),
        "mean_signed_error": statistics.mean(p.error for p in found),
        "within_two_deviations": statistics.mean(abs(p.deviations) <= 2 for p in found),
        "mean_deviation": statistics.mean(
            p.estimate.deviation_bytes / p.estimate.mean_bytes for p in found
        ),
        "limits_tried": len(verdicts),
        **{name: verdicts.count(name) for name in sorted(set(verdicts) | {"false fits"})},
    }


def _verdict(prediction: Prediction, share: float) -> str:
    """Of a limit that is this share of what the trial needed."""
    limit_bytes = share * prediction.case.peak_bytes
    if fits(prediction.estimate, limit_bytes):
        return "true fits" if share >= 1.0 else "false fits"
    if surely_too_large(prediction.estimate, limit_bytes):
        return "false too large" if share >= 1.0 else "true too large"
    return "open"


def main(path: Path) -> None:
    """Prints the scores and publishes them."""
    document = evaluate(path)
    environment = json.loads(next(r["environment"] for r in rows(path) if r["environment"] != "{}"))
    environment.pop("threads", None)  # differs from trial to trial
    publish("memory", document, environment)
    for name in ("cold", "calibrated"):
        print(name, json.dumps(document[name]))
    for kind in ("by_model", "by_stage", "by_layout"):
        for name, scores in document[kind].items():
            means = " -> ".join(
                f"{s['mean_error']:.1%} (worst {s['worst_error']:.1%})" for s in scores.values()
            )
            print(f"{name:<12} {scores['cold']['trials']:3} trials  {means}")


if __name__ == "__main__":
    given = dict(a.removeprefix("--").partition("=")[::2] for a in sys.argv[1:])
    if "measure" in given:
        measure(
            int(given.get("seed", SEED)),
            float(given.get("share", 1.0)),
            Path(given.get("into", CSV)),
        )
    else:
        main(Path(given.get("from", CSV)))
