"""What each format holds, leaves out and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sweeper.core.ds_config_variants import (
    NVME_PATH,
    accelerate_variant,
    lightning_variant,
    publishable,
    trainer_variant,
)
from sweeper.core.export_formats import FORMATS, formats_named, left_out, refusal
from sweeper.core.exported import exported_layout, exported_settings
from sweeper.core.framework_arguments import (
    accelerate_config,
    axolotl_lines,
    lightning_arguments,
    llamafactory_lines,
    trainer_arguments,
)
from sweeper.core.plan import specification
from sweeper.errors import UsageError
from sweeper.places import extensions_dir
from sweeper.report.launch_script import deepspeed_script, slurm_script, torchrun_script
from sweeper.run.launch import STEADY_ALLOCATOR
from tests.support import MACHINE, ROOT, nano

VARIANTS = [trainer_variant, accelerate_variant, lightning_variant]
CUDA = {"hardware.accelerator": "cuda", "hardware.ranks": 2}
STAGE3 = {"zero.stage": 3, "precision.mode": "bf16", "batch.micro_size": 2}
SPREAD = ["tensor", "pipeline", "sequence", "expert"]
OWN_MODEL = [f for f in FORMATS.values() if not f.spreads]


def config_of(**changes):
    return publishable(specification(nano(**changes), MACHINE).ds_config, temporary="/tmp")


def settings_of(**changes):
    return exported_settings(nano(**changes).flat())


def paths_with(value, document, prefix=""):
    for name, item in document.items():
        if isinstance(item, dict):
            yield from paths_with(value, item, f"{prefix}{name}.")
        elif item == value:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("mode", ["fp32", "bf16", "fp16"])
def test_the_trainers_variant_has_auto_where_an_argument_says_the_same_and_nowhere_else(mode):
    variant = trainer_variant(config_of(**STAGE3 | {"precision.mode": mode}))
    assert {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "bf16.enabled",
        "fp16.enabled",
    } == set(paths_with("auto", variant))


def test_the_loss_scale_goes_with_the_trainers_variant():
    variant = trainer_variant(config_of(**{"precision.mode": "fp16"}))
    assert {"enabled": "auto", "initial_scale_power": 12} == variant["fp16"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_optimizer_and_schedule_are_the_users_own_in_a_framework(variant):
    config = config_of() | {"scheduler": {"type": "WarmupLR"}}
    assert not {"optimizer", "scheduler"} & set(variant(config))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_framework_saves_whole_weights_at_stage_3(variant, stage):
    config = config_of(**{"zero.stage": stage})
    gathers = "stage3_gather_16bit_weights_on_model_save"
    assert (stage == 3) == (gathers in variant(config)["zero_optimization"])
    assert gathers not in config["zero_optimization"]


def test_accelerates_variant_has_the_values_that_were_measured():
    config = config_of(**STAGE3)
    variant = accelerate_variant(config)
    for name in ("train_batch_size", "train_micro_batch_size_per_gpu", "bf16"):
        assert config[name] == variant[name]
    assert [] == list(paths_with("auto", variant))


def test_lightnings_variant_has_what_it_takes_from_a_file_and_nothing_else():
    variant = lightning_variant(config_of(**STAGE3))
    assert {
        "train_micro_batch_size_per_gpu",
        "zero_optimization",
        "bf16",
        "zero_allow_untested_optimizer",
    } == set(variant)


def test_a_count_that_was_typed_as_a_decimal_is_an_integer_and_a_ratio_is_not():
    raw = {"zero_optimization": {"sub_group_size": 5e8, "offload_optimizer": {"ratio": 1.0}}}
    text = json.dumps(publishable(raw, temporary="/tmp"))
    assert '"sub_group_size": 500000000,' in text
    assert '"ratio": 1.0' in text


def test_what_a_script_does_beside_the_training_is_kept():
    own = {
        "csv_monitor": {"enabled": True, "output_path": "logs"},
        "autotuning": {"enabled": True},
        "wall_clock_breakdown": True,
    }
    assert own == publishable(own, temporary="/tmp")


def test_what_belongs_to_the_measuring_stays_behind():
    raw = {
        "_sweeper": 1,
        "zero_optimization": {
            "stage": 3,
            "offload_optimizer": {"device": "nvme", "nvme_path": "/scratch/a/b"},
            "offload_param": {"device": "nvme", "nvme_path": "/scratchy"},
        },
    }
    clean = publishable(raw, temporary="/scratch")
    assert ["zero_optimization"] == list(clean)
    zero = clean["zero_optimization"]
    assert NVME_PATH == zero["offload_optimizer"]["nvme_path"]
    assert "/scratchy" == zero["offload_param"]["nvme_path"]
    assert "/scratch/a/b" == raw["zero_optimization"]["offload_optimizer"]["nvme_path"]


@pytest.mark.parametrize(
    ("mode", "bf16", "fp16", "lightning"),
    [
        ("fp32", False, False, "32-true"),
        ("bf16", True, False, "bf16-true"),
        ("fp16", False, True, "16-true"),
        ("autocast_bf16", False, False, "32-true"),  # the configuration itself says the rest
    ],
)
def test_the_arguments_say_what_the_variants_leave_open(mode, bf16, fp16, lightning):
    changes = {"precision.mode": mode, "batch.micro_size": 2, "hardware.ranks": 2}
    config, settings = config_of(**changes), settings_of(**changes)
    assert {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_grad_norm": 1.0,
        "bf16": bf16,
        "fp16": fp16,
        "use_cpu": True,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "torch_compile": False,
    } == trainer_arguments(config, settings)
    assert {
        "accelerator": "cuda",
        "devices": 2,
        "precision": lightning,
        "accumulate_grad_batches": 2,
        "gradient_clip_val": 1.0,
    } == lightning_arguments(config, settings)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer.implementation": "fused"}, "adamw_torch_fused"),
        ({"optimizer.implementation": "foreach"}, "adamw_torch"),
        ({"zero.stage": 2, "offload.optimizer": "cpu"}, "adamw_torch"),
        ({"optimizer.implementation": "deepspeed"}, None),
        ({"optimizer.type": "Lion"}, None),
    ],
)
def test_an_optimizer_is_named_where_the_trainer_has_it_and_told_of_where_not(changes, named):
    config, settings = config_of(**changes), settings_of(**changes)
    assert named == trainer_arguments(config, settings).get("optim")
    told = [part for part in left_out(FORMATS["hf"], config, settings) if "optimizer" in part]
    assert (named is None) == bool(told)


def test_a_gpus_winner_is_not_sent_to_the_cpu():
    assert "use_cpu" not in trainer_arguments(config_of(**CUDA), settings_of(**CUDA))


RECOMPUTED = {"checkpointing.every_nth_block": 1, "compile.mode": "engine"}


def test_recomputing_every_block_and_compiling_are_arguments_of_the_trainer():
    config, settings = config_of(), settings_of(**RECOMPUTED)
    arguments = trainer_arguments(config, settings)
    assert arguments["gradient_checkpointing"]
    assert {"use_reentrant": False} == arguments["gradient_checkpointing_kwargs"]
    assert arguments["torch_compile"]
    assert () == left_out(FORMATS["hf"], config, settings)


@pytest.mark.parametrize("lines", [axolotl_lines, llamafactory_lines])
def test_what_is_off_is_said_so_that_it_replaces_what_the_user_has_on(lines):
    said = lines(config_of(), settings_of(), ds_config="/x.json")
    for name in ("gradient_checkpointing", "torch_compile", "bf16", "fp16"):
        assert said[name] is False


def test_what_a_script_decides_itself_is_left_alone():
    settings = exported_settings({**nano().flat(), "script.path": "train.py"})
    assert "torch_compile" not in trainer_arguments(config_of(), settings)
    assert not any("compile" in part for part in left_out(FORMATS["lightning"], {}, settings))
    assert "none" == exported_layout(settings, where="here").compile


@pytest.mark.parametrize("form", OWN_MODEL, ids=lambda f: f.name)
def test_every_second_block_is_what_no_framework_carries(form):
    settings = settings_of(**{"checkpointing.every_nth_block": 2})
    assert "activation checkpointing (every 2. block)" in left_out(form, config_of(), settings)[0]
    assert "gradient_checkpointing" not in trainer_arguments(config_of(), settings)


@pytest.mark.parametrize("name", ["accelerate", "lightning"])
def test_what_a_framework_has_no_argument_for_is_told_with_what_to_do(name):
    changes = {**RECOMPUTED, "launch.omp_threads": 3, "launch.bind_cores": True}
    told = "\n".join(left_out(FORMATS[name], config_of(), settings_of(**changes)))
    for part in (
        "activation checkpointing (every block): `model.gradient_checkpointing_enable()`",
        "the compiled model: `",
        "the optimizer, AdamW",
        "`OMP_NUM_THREADS=3` in the environment",
        "cores of its own",
    ):
        assert part in told


def test_only_deepspeeds_launcher_binds_cores():
    settings = settings_of(**{"launch.bind_cores": True})
    assert () == left_out(FORMATS["deepspeed"], config_of(), settings)
    for name in ("torchrun", "slurm"):
        assert "`launch.sh` binds them" in left_out(FORMATS[name], config_of(), settings)[0]


def test_a_launcher_that_leaves_one_thread_to_an_offloaded_optimizer_is_told_of():
    changes = {"zero.stage": 2, "offload.optimizer": "cpu"}
    told = left_out(FORMATS["accelerate"], config_of(**changes), settings_of(**changes))
    assert any("`OMP_NUM_THREADS`: unset it is 1" in part for part in told)


def test_ranks_on_the_cpu_that_accelerate_takes_for_one_are_told_of():
    def told(**changes):
        return any(
            "all train the same" in part
            for part in left_out(FORMATS["accelerate"], config_of(), settings_of(**changes))
        )

    assert told(**{"hardware.ranks": 2})
    assert not told()
    assert not told(**CUDA)


def test_accelerates_yaml_has_only_what_is_allowed_beside_a_deepspeed_file():
    launched = accelerate_config(
        config_of(**STAGE3), settings_of(**{"hardware.ranks": 2}), ds_config="/x.json"
    )
    assert {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "DEEPSPEED",
        "num_machines": 1,
        "num_processes": 2,
        "deepspeed_config": {"deepspeed_config_file": "/x.json", "zero3_init_flag": True},
    } == launched
    below = accelerate_config(config_of(), settings_of(), ds_config="/x.json")
    assert below["deepspeed_config"]["zero3_init_flag"] is False


def test_axolotl_and_llamafactory_take_the_trainers_arguments_by_their_own_names():
    config, settings = config_of(), settings_of()
    axolotl = axolotl_lines(config, settings, ds_config="/x.json")
    assert {"deepspeed": "/x.json", "micro_batch_size": 1, "optimizer": "adamw_torch_fused"} == {
        name: axolotl[name] for name in ("deepspeed", "micro_batch_size", "optimizer")
    }
    assert not {"per_device_train_batch_size", "optim", "use_cpu"} & set(axolotl)
    llama = llamafactory_lines(config, settings, ds_config="/x.json")
    assert ("/x.json", 1) == (llama["deepspeed"], llama["per_device_train_batch_size"])


@pytest.mark.parametrize(
    ("every", "added"),
    [
        (0, {"disable_gradient_checkpointing": True, "gradient_checkpointing": False}),
        (1, {"disable_gradient_checkpointing": False, "use_reentrant_gc": False}),
        (2, {}),
    ],
)
def test_llamafactory_recomputes_unless_it_is_told_not_to(every, added):
    settings = settings_of(**{"checkpointing.every_nth_block": every})
    lines = llamafactory_lines(config_of(), settings, ds_config="/x.json")
    about = ("gradient_checkpointing", "reentrant")
    assert added == {n: v for n, v in lines.items() if any(word in n for word in about)}


@pytest.mark.parametrize("degree", SPREAD)
@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda f: f.name)
def test_a_spread_model_is_refused_where_each_rank_has_a_whole_one(form, degree):
    settings = settings_of(**{f"parallel.{degree}": 2, "hardware.ranks": 4})
    refused = refusal(form, settings)
    if form.spreads:
        assert refused is None
        return
    assert f"the winner is {degree} parallel (" in refused
    assert form.title in refused
    assert "--format native carries it" in refused
    assert 1 == len(refused.splitlines())
    assert refusal(form, settings_of(**{"hardware.ranks": 4})) is None


def test_a_format_that_there_is_not_is_answered_with_those_there_are():
    with pytest.raises(
        UsageError, match=r"--format hff: allowed are native, .*all; .*--format hf$"
    ):
        formats_named("hff")
    assert [*FORMATS] == [f.name for f in formats_named("all")]


def started(tmp_path, script, program, **more):
    """What a launch script gives a ``program`` that only tells."""
    told = tmp_path / program
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nenv\n')
    (tmp_path / "launch.sh").write_text(script)
    for path in (told, tmp_path / "launch.sh"):
        path.chmod(0o755)
    done = subprocess.run(
        [str(tmp_path / "launch.sh"), "train.py", "two words"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **more},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_torchrun_starts_the_ranks_of_the_trial_in_its_environment(tmp_path):
    settings = settings_of(**{"hardware.ranks": 2, "launch.omp_threads": 3})
    said = started(tmp_path, torchrun_script(settings), "torchrun")
    assert ["--standalone", "--nproc_per_node=2", "train.py", "two words"] == said[:4]
    assert {"DS_ACCELERATOR=cpu", "LOCAL_SIZE=2", "OMP_NUM_THREADS=3"} <= set(said)
    assert {f"{name}={value}" for name, value in STEADY_ALLOCATOR.items()} <= set(said)


@pytest.mark.parametrize(
    ("make", "program"),
    [(deepspeed_script, "deepspeed"), (torchrun_script, "torchrun"), (slurm_script, "srun")],
)
def test_the_ops_that_were_built_are_found_where_they_are(tmp_path, monkeypatch, make, program):
    def folder(**more):
        python = {"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        here = {"PYTHONPATH": str(ROOT), "SWEEPER_CACHE_DIR": str(tmp_path / "cache")}
        node = {"SLURM_CPUS_ON_NODE": "2"}
        said = started(tmp_path, make(settings_of()), program, **{**node, **python, **here, **more})
        return [line.partition("=")[2] for line in said if line.startswith("TORCH_EXTENSIONS_DIR=")]

    assert [] == folder()
    monkeypatch.setenv("SWEEPER_CACHE_DIR", str(tmp_path / "cache"))
    extensions_dir().mkdir(parents=True)
    assert [str(extensions_dir())] == folder()
    assert ["/mine"] == folder(TORCH_EXTENSIONS_DIR="/mine")
    (tmp_path / "python").symlink_to("/bin/false")  # one without this package
    assert [] == folder()


def test_torchrun_gives_a_script_that_asks_for_it_its_rank(tmp_path):
    said = started(tmp_path, torchrun_script(settings_of(), "--local_rank"), "torchrun")
    rank = said[said.index("--no-python") + 1 : said.index("two words") + 1]
    (tmp_path / "python").symlink_to("torchrun")  # it tells, too
    done = subprocess.run(
        rank,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOCAL_RANK": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["-u", "train.py", "--local_rank=1", "two words"] == done.stdout.splitlines()[:4]


def test_torchrun_leaves_no_single_thread_on_a_gpu_host(tmp_path):
    said = started(tmp_path, torchrun_script(settings_of(**CUDA)), "torchrun")
    cores = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()
    assert f"OMP_NUM_THREADS={cores}" in said


def test_slurm_starts_torchrun_on_one_node_with_all_its_cores(tmp_path):
    script = slurm_script(settings_of(**CUDA))
    wanted = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --nodes=1", "#SBATCH --gpus-per-node=2"} < set(wanted)
    said = started(tmp_path, script, "srun", SLURM_CPUS_ON_NODE="16")
    assert [
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=16",
        "torchrun",
        "--standalone",
        "--nproc_per_node=2",
        "train.py",
        "two words",
    ] == said[:8]
    assert "gpus" not in slurm_script(settings_of())


def test_a_yaml_reads_as_it_was_meant():
    lines = axolotl_lines(config_of(), settings_of(), ds_config="/x: y.json")
    assert lines == yaml.safe_load(yaml.safe_dump(lines))
