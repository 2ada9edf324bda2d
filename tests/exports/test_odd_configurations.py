"""What a user's configuration may look like, and what every format makes of it."""

import json

import pytest
import yaml

from sweeper.core.ds_config_variants import (
    accelerate_variant,
    lightning_variant,
    trainer_variant,
)
from sweeper.core.export_formats import FORMATS
from sweeper.core.whole_config import batch_sizes, whole_config
from sweeper.report.build import build_report
from sweeper.report.export import export
from tests.exports.made_up import ADAM, SIZES, study_of_script
from tests.support import nano

BF16 = {"precision.mode": "bf16"}
OFFLOADED = {"offload.optimizer": "cpu"}
ZERO = {"stage": 2}

# What it is -> the configuration, what its trial's settings say
ODD = {
    "nothing of the batch": ({"optimizer": ADAM, "zero_optimization": ZERO}, {}),
    "only the whole batch": ({"train_batch_size": 8, "zero_optimization": ZERO}, {}),
    "only the micro-batch": (
        {"train_micro_batch_size_per_gpu": 2, "optimizer": ADAM, "zero_optimization": ZERO},
        {},
    ),
    "no micro-batch": (
        {"train_batch_size": 8, "gradient_accumulation_steps": 2, "zero_optimization": ZERO},
        {},
    ),
    "nothing": ({}, {"zero.stage": 0}),
    "auto": (
        {
            **dict.fromkeys(SIZES, "auto"),
            "gradient_clipping": "auto",
            "bf16": {"enabled": "auto"},
            "fp16": {"enabled": "auto"},
            "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}},
            "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
        },
        BF16,
    ),
    "null sections": (
        {
            "bf16": None,
            "fp16": None,
            "optimizer": None,
            "scheduler": None,
            "zero_optimization": None,
            "aio": None,
            "gradient_clipping": None,
        },
        {"zero.stage": 0},
    ),
    "zero as a switch": ({"zero_optimization": True, "allgather_size": 5e8}, {"zero.stage": 1}),
    "zero without a stage": ({"zero_optimization": {}}, {"zero.stage": 0}),
    "switched off in words": (
        {"bf16": {"enabled": "false"}, "fp16": {"enabled": "False"}, "zero_optimization": ZERO},
        {},
    ),
    "switched on in words": ({"bf16": {"enabled": "true"}, "zero_optimization": ZERO}, BF16),
    "bf16 by its older name": ({"bfloat16": {"enabled": True}, "zero_optimization": ZERO}, BF16),
    "an optimizer without parameters": (
        {"optimizer": {"type": "Adam"}, "zero_optimization": ZERO},
        {},
    ),
    "parameters that are null": (
        {"optimizer": {"type": "AdamW", "params": None}, "zero_optimization": ZERO},
        {},
    ),
    "an optimizer without a type": ({"optimizer": {"params": {"lr": 1}}}, {"zero.stage": 0}),
    "an optimizer by its name alone": ({"optimizer": "Adam"}, {"zero.stage": 0}),
    "offload that is null": (
        {"zero_optimization": {"stage": 2, "offload_optimizer": None, "offload_param": None}},
        {},
    ),
    "offload to nowhere": (
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}}},
        {},
    ),
    "offload by its older name": (
        {
            "zero_optimization": {
                "stage": 2,
                "cpu_offload": True,
                "cpu_offload_use_pin_memory": True,
            }
        },
        OFFLOADED,
    ),
    "older names that are off": ({"zero_optimization": {"stage": 2, "cpu_offload": False}}, {}),
    "a path that is null": (
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu", "nvme_path": None}}},
        OFFLOADED,
    ),
    "gathering by its older name": (
        {"zero_optimization": {"stage": 3, "stage3_gather_fp16_weights_on_model_save": True}},
        {"zero.stage": 3},
    ),
    "monitors and tuners": (
        {
            "zero_optimization": ZERO,
            "csv_monitor": {"enabled": True, "output_path": "logs"},
            "wandb": {"enabled": "false"},
            "flops_profiler": None,
            "autotuning": {"enabled": True},
            "wall_clock_breakdown": True,
        },
        {},
    ),
    "accumulation as a float": (
        {"gradient_accumulation_steps": 2.0, "zero_optimization": ZERO},
        {},
    ),
    "sizes as words": ({**{n: str(v) for n, v in SIZES.items()}, "zero_optimization": ZERO}, {}),
}  # fmt: skip
CASES = [pytest.param(*case, id=name) for name, case in ODD.items()]
FRAMEWORKS = [None, "transformers", "accelerate", "lightning"]


def words_of(path) -> dict[str, str]:
    words = path.read_text().split()
    return dict(zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("config", "settings"), CASES)
def test_each_format_is_made_of_it_by_itself(tmp_path, config, settings, name):
    folder = study_of_script(tmp_path, config, **settings)
    said = export(str(folder.path), name=name, to=None, force=False)
    assert "could not" not in said
    assert not folder.errors.exists()
    readme = (folder.export(name) / "README.md").read_text()
    assert "a micro-batch of 2, accumulated over 2 micro-steps" in readme


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("config", "settings"), CASES)
def test_all_have_the_batch_the_precision_and_the_stage_of_the_trial(
    tmp_path, config, settings, framework
):
    folder = study_of_script(tmp_path, config, facts={"framework": framework}, **settings)
    export(str(folder.path), name="all", to=str(folder.best), force=True)
    best = folder.bundle
    whole = json.loads(best.accelerate_ds_config.read_text())
    assert SIZES == {name: whole[name] for name in SIZES}
    in_bf16, stage = settings.get("precision.mode") == "bf16", settings.get("zero.stage", 2)
    offloads = settings.get("offload.optimizer") == "cpu"
    assert in_bf16 is whole["bf16"]["enabled"]
    assert whole["fp16"]["enabled"] is False
    assert stage == whole["zero_optimization"]["stage"]
    assert offloads is ("offload_optimizer" in whole["zero_optimization"])
    arguments = words_of(best.trainer_arguments)
    assert ("2", "2") == (
        arguments["--per_device_train_batch_size"],
        arguments["--gradient_accumulation_steps"],
    )
    assert str(in_bf16).lower() == arguments["--bf16"]
    axolotl = yaml.safe_load(best.axolotl.read_text())
    assert (2, 2) == (axolotl["micro_batch_size"], axolotl["gradient_accumulation_steps"])
    llama = yaml.safe_load(best.llamafactory.read_text())
    assert (2, 2) == (llama["per_device_train_batch_size"], llama["gradient_accumulation_steps"])
    lightning = json.loads(best.lightning_ds_config.read_text())
    assert 2 == lightning["train_micro_batch_size_per_gpu"]
    assert "accumulate_grad_batches=2" in best.readme.read_text()


@pytest.mark.parametrize(("config", "settings"), CASES)
def test_the_report_is_whole_and_the_native_file_is_the_users_own(
    tmp_path, monkeypatch, config, settings
):
    monkeypatch.setattr("sweeper.report.build.draw_figures", lambda *_, **__: ())
    folder = study_of_script(tmp_path, config, **settings)
    said = build_report(folder)
    assert "could not" not in said + folder.report.read_text()
    assert config == json.loads(folder.best_ds_config.read_text())


@pytest.mark.parametrize(("config", "settings"), CASES)
def test_deepspeed_takes_what_frameworks_are_given(config, settings):
    """As they leave it: with their own values in the place of ``auto``."""
    deepspeed_config = pytest.importorskip("deepspeed.runtime.config")
    flat = nano(
        **{
            "zero.stage": 2,
            "batch.micro_size": 2,
            "workload.global_batch_size": 4,
            **settings,
        }
    ).flat()
    whole = whole_config(config, flat)
    for variant in (accelerate_variant, lightning_variant, trainer_variant):
        given = {n: v for n, v in variant(whole).items() if v != "auto"}
        given = {
            n: {k: v for k, v in s.items() if v != "auto"} if isinstance(s, dict) else s
            for n, s in given.items()
        }
        given.setdefault("train_micro_batch_size_per_gpu", 2)
        assert deepspeed_config.DeepSpeedConfig(given).zero_optimization_stage == flat["zero.stage"]


@pytest.mark.parametrize(
    ("settings", "data_parallel", "sizes"),
    [
        ({"hardware.ranks": 2, "batch.micro_size": 2}, None, (8, 2, 2)),
        ({"hardware.ranks": 4, "batch.micro_size": 1, "parallel.tensor": 2}, None, (8, 1, 4)),
        ({"hardware.ranks": 4, "batch.micro_size": 1}, 2, (8, 1, 4)),
        ({"hardware.ranks": 1, "batch.micro_size": 8}, None, (8, 8, 1)),
    ],
)
def test_the_batch_is_counted_from_the_settings(settings, data_parallel, sizes):
    flat = nano(**{**settings, "workload.global_batch_size": 8}).flat()
    assert sizes == tuple(batch_sizes(flat, data_parallel=data_parallel).values())


def test_a_precision_that_settings_cannot_name_stays_as_it_is():
    flat = nano().flat()
    amp = {"amp": {"enabled": True}}
    assert amp.items() <= whole_config(amp, flat).items()
    autocast = {"torch_autocast": {"enabled": True, "dtype": "float16"}}
    assert autocast.items() <= whole_config(autocast, flat).items()


def test_what_else_a_section_says_stays():
    flat = nano(**{"zero.stage": 2, "offload.optimizer": "cpu", "precision.mode": "bf16"}).flat()
    own = {
        "bf16": {"enabled": "true", "immediate_grad_update": True},
        "zero_optimization": {
            "stage": 2,
            "overlap_comm": True,
            "offload_optimizer": {"device": "cpu", "ratio": 0.5},
        },
    }
    whole = whole_config(own, flat)
    assert {"enabled": True, "immediate_grad_update": True} == whole["bf16"]
    assert whole["zero_optimization"]["overlap_comm"]
    assert 0.5 == whole["zero_optimization"]["offload_optimizer"]["ratio"]
