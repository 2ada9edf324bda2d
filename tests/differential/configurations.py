"""Seeded configurations as users write them, and whether what we make of each is what DeepSpeed's engine is."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sweeper.core.engine_check import contradictions, expected_of
from sweeper.core.machine import Machine
from sweeper.core.plan import plan
from sweeper.core.resolved_config import Resolved
from sweeper.core.spec import TrialSpec
from sweeper.errors import UsageError
from sweeper.hydra_edge import schema
from sweeper.hydra_edge.compose import Composer
from sweeper.hydra_edge.hydra_versions import VERSION_BASE
from sweeper.hydra_edge.script_knobs import baseline_overrides
from sweeper.places import conf_dir, extensions_dir
from sweeper.run.launch import free_port
from tests.support import ROOT, environment

RANKS = 2
MACHINE = Machine(cores=2, host_memory_bytes=20 * 2**30, libaio=False)
# What is not asked of an engine that takes no step
UNSEEN = {
    "work": [],
    "autocasts": False,
    "recomputes": False,
    "can_switch_recomputation": False,
    "has_dropout": False,
    "has_losses": True,
    "sets_boundary": True,
    "num_engines": 1,
    "number": 1,
}
CHANGES = (
    *(f"zero=stage{stage}" for stage in range(4)),
    "offload=none",
    "offload=optimizer",
    "offload=optimizer_and_params",
    "precision=fp32",
    "precision=bf16",
    "precision=autocast_bf16",
    "batch.micro_size=1",
    "batch.micro_size=2",
    "batch.micro_size=4",
    "comm=fp32",
    "zero.reduce_bucket_size=null",
)


def configurations(number: int, *, seed: int) -> list[dict[str, Any]]:
    """The same ones for a seed; the first of a larger number are those of a smaller one."""
    drawn = random.Random(seed)
    return [_configuration(drawn) for _ in range(number)]


def _configuration(drawn: random.Random) -> dict[str, Any]:
    config: dict[str, Any] = {}
    config |= _batch(drawn)
    config |= _optimizer(drawn)
    config |= _precision(drawn)
    if drawn.random() < 0.85:
        config["zero_optimization"] = _zero(drawn)
    if drawn.random() < 0.2:
        config["communication_data_type"] = drawn.choice(["fp32", "bf16", "FP32", None])
    if drawn.random() < 0.15:
        config["data_types"] = {"grad_accum_dtype": drawn.choice(["fp32", "bf16", "float32", None])}
    for name, values in _BESIDE.items():
        if drawn.random() < 0.12:
            config[name] = drawn.choice(values)
    keys = list(config)
    drawn.shuffle(keys)
    return {name: config[name] for name in keys}


_BESIDE: Mapping[str, Sequence[Any]] = {
    "gradient_clipping": [0.0, 1.0, 0.5],
    "prescale_gradients": [False],
    "steps_per_print": [10, 2000],
    "wall_clock_breakdown": [True, False],
    "memory_breakdown": [False],
    "csv_monitor": [{"enabled": False}, {"enabled": "false", "output_path": "logs"}],
    "scheduler": [{"type": "WarmupLR", "params": {"warmup_num_steps": 10}}],
    "activation_checkpointing": [{"partition_activations": False, "cpu_checkpointing": True}],
    "aio": [{"block_size": 1048576, "queue_depth": 16}, None],
    "offload_optimizer": [{"device": "cpu"}],
    "gradient_cliping": [1.0],
    "flops_profiler": [{"enabled": False}],
    "zero_force_ds_cpu_optimizer": [False],
    "dataloader_drop_last": [True],
    "autotuning": [{"enabled": False}],
}


def _batch(drawn: random.Random) -> dict[str, Any]:
    micro, steps = drawn.choice([1, 2, 4]), drawn.choice([1, 2, 4])
    train = micro * steps * RANKS
    names = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    whole = dict(zip(names, (train, micro, steps), strict=True))
    kept = drawn.choice(
        [names, names[:2], names[1:], (names[0], names[2]), names[:1], names[1:2], names[1:2]]
    )
    batch: dict[str, Any] = {name: whole[name] for name in kept}
    if len(kept) < 3 and drawn.random() < 0.3:
        batch[next(name for name in names if name not in kept)] = None
    return batch


def _optimizer(drawn: random.Random) -> dict[str, Any]:
    adam = {"lr": 1e-3, "torch_adam": True}
    section = drawn.choice(
        [
            {"type": "Adam", "params": adam},
            {"type": "AdamW", "params": {**adam, "betas": [0.9, 0.95], "weight_decay": 0.1}},
            {"type": "adamw", "params": adam},
            {"type": "Adagrad", "params": {"lr": 0.1}},
            {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}},
            {"type": "NAdam", "params": {"lr": 1e-3}},
            None,
        ]
    )
    if section is None:
        return {}  # the script's own
    untested = section["type"] in ("SGD", "NAdam")
    return {"optimizer": section, **({"zero_allow_untested_optimizer": True} if untested else {})}


def _switch(drawn: random.Random, on: bool) -> Any:
    return drawn.choice([True, "true", 1, "True"] if on else [False, "false", 0, "False"])


def _precision(drawn: random.Random) -> dict[str, Any]:
    kind = drawn.choice(["none", "none", "bf16", "bf16", "bfloat16", "off", "null", "autocast"])
    match kind:
        case "bf16" | "bfloat16":
            section: dict[str, Any] = {"enabled": _switch(drawn, True)}
            if drawn.random() < 0.3:
                section["check_grad_overflow"] = False
            return {kind: section}
        case "off":
            return {
                drawn.choice(["bf16", "bfloat16"]): {"enabled": _switch(drawn, False)},
                "fp16": {"enabled": _switch(drawn, False), "loss_scale": 0},
            }
        case "null":
            return {"bf16": None}
        case "autocast":
            return {
                "torch_autocast": {"enabled": True, "dtype": drawn.choice(["bfloat16", "bf16"])}
            }
    return {}


def _zero(drawn: random.Random) -> Any:
    if drawn.random() < 0.08:
        return drawn.choice([True, False])
    stage = drawn.choice([0, 1, 2, 3, 3])
    zero: dict[str, Any] = {"stage": stage} if stage or drawn.random() < 0.5 else {}
    for name, values in _OF_ZERO.items():
        if drawn.random() < 0.12:
            zero[name] = drawn.choice(values)
    if stage in (1, 2) and drawn.random() < 0.1:
        zero["round_robin_gradients"] = True
    match drawn.choice(["none", "none", "old", "new", "null", "nvme", "param"]):
        case "old":
            zero["cpu_offload"] = drawn.choice([True, False])
            if drawn.random() < 0.5:
                zero["cpu_offload_use_pin_memory"] = drawn.choice([True, False])
            if drawn.random() < 0.4:
                zero["cpu_offload_param"] = True
        case "new":
            section: dict[str, Any] = {"device": drawn.choice(["cpu", "cpu", "none"])}
            for name, value in (("pin_memory", False), ("buffer_count", 5), ("fast_init", False)):
                if drawn.random() < 0.4:
                    section[name] = value
            zero["offload_optimizer"] = section
        case "null":
            zero["offload_optimizer"] = None
        case "nvme" if stage < 3:  # below stage 3 nothing goes there
            zero["offload_optimizer"] = {"device": "nvme", "nvme_path": "somewhere"}
        case "param":
            zero["offload_param"] = {"device": "cpu", "pin_memory": False}
    return zero


_OF_ZERO: Mapping[str, Sequence[Any]] = {
    "reduce_bucket_size": [5e7, 1000000, "auto"],
    "allgather_bucket_size": [5e7, 1000000],
    "allgather_partitions": [True],
    "overlap_comm": [True, False, "false"],
    "contiguous_gradients": [True, False],
    "reduce_scatter": [True, "true"],
    "sub_group_size": [1e9, 100000],
    "stage3_prefetch_bucket_size": [1e6, "auto"],
    "prefetch_bucket_size": [1000000],
    "stage3_param_persistence_threshold": [1e4, 0],
    "stage3_max_live_parameters": [1e9],
    "stage3_gather_16bit_weights_on_model_save": [True],
    "stage3_gather_fp16_weights_on_model_save": [True],
    "ignore_unused_parameters": [True],
    "load_from_fp32_weights": [True],
    "zero_quantized_gradients": [False],
    "zero_hpz_partition_size": [1],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Of one configuration: what DeepSpeed refuses is no case; ``disagreements`` are in words."""

    config: Mapping[str, Any]
    refused: str
    overrides: tuple[str, ...]
    candidate: tuple[str, ...]
    disagreements: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def judge(configs: Sequence[Mapping[str, Any]], folder: Path, *, seed: int) -> list[Judgement]:
    """Three runs of engines, one after the other: as they are, as their baselines, as a candidate of each."""
    folder.mkdir(parents=True, exist_ok=True)
    own = _engines([{"own": config} for config in configs], folder / "own.json")
    judged: list[Judgement] = []
    asked: list[dict[str, Any]] = []
    labels: list[tuple[int, str, TrialSpec]] = []
    drawn = random.Random(seed)
    with _composing() as compose:
        for config, made in zip(configs, own, strict=True):
            overrides, candidate, found = (), (), []
            if not made["refused"]:
                facts = {**UNSEEN, **made["facts"], "config": config}
                found += _misread(facts)
                try:
                    overrides = tuple(baseline_overrides(facts, ranks=RANKS, name="train.py"))
                except UsageError as error:
                    found.append(f"no baseline: {error}")
                else:
                    planned = plan(compose(overrides), MACHINE).ready
                    if isinstance(planned, TrialSpec):
                        labels.append((len(judged), "baseline", planned))
                        asked.append({"own": config, "spec": planned.to_json()})
                    else:
                        found.append(f"the baseline is ruled out: {planned.reason}")
                    candidate, spec = _candidate(overrides, compose, drawn)
                    if spec is not None:
                        labels.append((len(judged), "candidate", spec))
                        asked.append({"own": config, "spec": spec.to_json()})
            judged.append(
                Judgement(
                    config=config,
                    refused=made["refused"],
                    overrides=overrides,
                    candidate=candidate,
                    disagreements=tuple(found),
                )
            )
    for (index, what, spec), made in zip(
        labels, _engines(asked, folder / "ours.json"), strict=True
    ):
        found = [made["refused"]] if made["refused"] else []
        if not found:
            found = contradictions(expected_of(spec), made["facts"]["engine"])
        if what == "baseline" and not made["unchanged"]:
            found.append(f"its configuration became {made['given']}")
        one = judged[index]
        told = (*one.disagreements, *(f"{what}: {each}" for each in found))
        judged[index] = Judgement(**{**one.to_json(), "disagreements": told})
    return judged


def _misread(facts: Mapping[str, Any]) -> list[str]:
    """What the parsers say against the engine."""
    resolved, engine = Resolved.from_json(facts["resolved"]), facts["engine"]
    batch = resolved.batch
    said = {
        "zero.stage": resolved.stage,
        "offload.optimizer": resolved.optimizer_device(resolved.stage),
        "offload.params": resolved.param_device(resolved.stage),
        "precision.mode": resolved.precision,
        "batch.micro_size": batch and batch.micro,
        "accumulation steps": batch and batch.accumulation,
        "data-parallel ranks": batch and batch.train // (batch.micro * batch.accumulation),
    }
    return [f"parsed: {each}" for each in contradictions(said, engine)]


def _candidate(
    overrides: Sequence[str], compose: Any, drawn: random.Random
) -> tuple[tuple[str, ...], TrialSpec | None]:
    for _ in range(20):
        changes = tuple(drawn.sample(CHANGES, drawn.choice([1, 1, 2, 3])))
        ready = plan(compose((*overrides, *changes)), MACHINE).ready
        if isinstance(ready, TrialSpec):
            return changes, ready
    return (), None


class _composing:
    """Gives the function from overrides to settings."""

    def __enter__(self) -> Any:
        schema.register()
        self._context = initialize_config_dir(str(conf_dir()), **VERSION_BASE)
        self._context.__enter__()
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        typed = ["+model=script", "script.path=train.py", f"hardware.ranks={RANKS}"]
        typed += ["hydra/sweeper=optuna", "space=none"]
        master = hydra.compose_config("config", typed, run_mode=RunMode.MULTIRUN, from_shell=False)
        fixed = [each for each in typed if not each.startswith(("hydra/", "space="))]
        return lambda overrides: Composer(
            hydra.config_loader, master, [*fixed, *overrides]
        ).settings(())

    def __exit__(self, *_: Any) -> None:
        self._context.__exit__(None, None, None)


def _engines(asked: Sequence[Mapping[str, Any]], file: Path) -> list[dict[str, Any]]:
    """What each is, made on all ranks."""
    file.write_text(json.dumps(list(asked)))
    port = str(free_port())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.differential.configuration_engines", str(file)],
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(RANKS),
                LOCAL_SIZE=str(RANKS),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
                DS_ACCELERATOR="cpu",
                OMP_NUM_THREADS="1",
                TORCH_EXTENSIONS_DIR=str(extensions_dir()),
            ),
            cwd=ROOT,
            stdout=(file.parent / f"{file.stem}.{rank}.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        for rank in range(RANKS)
    ]
    for rank in ranks:
        assert 0 == rank.wait(1800), (file.parent / f"{file.stem}.0.log").read_text()[-3000:]
    return list(json.loads(file.with_suffix(".out").read_text()))
