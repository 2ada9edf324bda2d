"""A candidate's settings in the place of a script's own configuration."""

import pytest

from sweeper.core.plan import plan
from sweeper.core.script_config import knobs_of, substituted
from tests.support import MACHINE, nano

OWN = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 4,
    "optimizer": {"type": "AdamW", "params": {"lr": 3e-4}},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}},
    "gradient_clipping": 0.5,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 2, "reduce_bucket_size": 1000, "allgather_partitions": True},
    "wall_clock_breakdown": False,
}
ITS_SETTINGS = {"zero.stage": 2, "precision.mode": "bf16", "batch.micro_size": 2}


def candidate(**changes):
    ready = plan(nano(**{**ITS_SETTINGS, **changes}), MACHINE).ready
    return ready.ds_config


def test_the_scripts_own_settings_leave_its_configuration_as_it_is():
    assert OWN == substituted(OWN, candidate())


@pytest.mark.parametrize(
    "own",
    [
        {"train_batch_size": 8, "train_micro_batch_size_per_gpu": 1},
        {"train_batch_size": 8, "zero_optimization": {"stage": 0}, "fp16": {"enabled": False}},
        {"train_batch_size": 8, "zero_optimization": {"offload_optimizer": {"device": "none"}}},
    ],
    ids=["no zero section", "stage 0 and fp16 off", "no stage and no offload"],
)
def test_what_is_left_out_or_switched_off_counts_as_said(own):
    assert own == substituted(
        own, candidate(**{"zero.stage": 0, "precision.mode": "fp32", "batch.micro_size": 1})
    )


def test_offload_of_its_own_keeps_its_details():
    zero = {"stage": 2, "offload_optimizer": {"device": "cpu", "pin_memory": True, "ratio": 0.3}}
    own = {**OWN, "zero_optimization": zero}
    assert own == substituted(own, candidate(**{"offload.optimizer": "cpu"}))
    assert {"stage": 2} == substituted(own, candidate())["zero_optimization"]


def test_stage_and_offload_are_changed_and_the_other_zero_keys_stay():
    config = substituted(OWN, candidate(**{"zero.stage": 3, "offload.optimizer": "cpu"}))
    zero = config["zero_optimization"]
    assert (3, 1000, "cpu") == (
        zero["stage"],
        zero["reduce_bucket_size"],
        zero["offload_optimizer"]["device"],
    )


def test_optimizer_schedule_and_clipping_stay_the_scripts():
    config = substituted(OWN, candidate(**{"zero.stage": 1, "batch.micro_size": 4}))
    for name in ("optimizer", "scheduler", "gradient_clipping"):
        assert OWN[name] == config[name]


def test_the_batch_is_given_whole():
    config = substituted(OWN, candidate(**{"batch.micro_size": 4}))
    assert (8, 4, 2) == (
        config["train_batch_size"],
        config["train_micro_batch_size_per_gpu"],
        config["gradient_accumulation_steps"],
    )


def test_another_precision_replaces_its_section():
    config = substituted(OWN, candidate(**{"precision.mode": "fp32"}))
    assert "bf16" not in config
    config = substituted(OWN, candidate(**{"precision.mode": "autocast_bf16"}))
    assert config["torch_autocast"]["enabled"]
    assert "bf16" not in config


def test_what_a_framework_would_fill_in_becomes_the_candidates():
    own = {
        "train_micro_batch_size_per_gpu": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
    }
    config = substituted(own, candidate())
    assert 2 == config["train_micro_batch_size_per_gpu"]
    assert {"enabled": True} == config["bf16"]
    assert "fp16" not in config
    assert "auto" == config["zero_optimization"]["reduce_bucket_size"]


@pytest.mark.parametrize(
    "changes", [{}, {"zero.stage": 3, "offload.optimizer": "cpu", "precision.mode": "fp32"}]
)
def test_doing_it_twice_changes_nothing(changes):
    once = substituted(OWN, candidate(**changes))
    assert once == substituted(once, candidate(**changes))


def test_an_optimizer_of_the_scripts_own_is_let_through_where_zero_changes():
    own = {name: value for name, value in OWN.items() if name != "optimizer"}
    wanted = candidate(**{"zero.stage": 1, "offload.optimizer": "cpu"})
    config = substituted(own, wanted, client_optimizer=True)
    assert config["zero_allow_untested_optimizer"] is True
    assert config["zero_force_ds_cpu_optimizer"] is False
    assert own == substituted(own, candidate(), client_optimizer=True)


def test_a_raw_key_that_is_typed_is_in_it():
    config = substituted(OWN, candidate(**{"ds": {"zero_optimization": {"sub_group_size": 7}}}))
    assert 7 == config["zero_optimization"]["sub_group_size"]


def test_the_knobs_of_a_configuration():
    knobs = knobs_of({**OWN, "communication_data_type": "fp32"})
    assert (2, "none", "none", "bf16", "fp32") == (
        knobs.stage,
        knobs.offload_optimizer,
        knobs.offload_param,
        knobs.precision,
        knobs.communication_dtype,
    )


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        ({}, "fp32"),
        ({"fp16": {"enabled": True}}, "fp16"),
        ({"bfloat16": {"enabled": True}}, "bf16"),
        ({"torch_autocast": {"enabled": True, "dtype": "bfloat16"}}, "autocast_bf16"),
        ({"torch_autocast": {"enabled": True, "dtype": "float16"}}, None),
        ({"amp": {"enabled": True}}, None),
        ({"bf16": {"enabled": "auto"}}, None),
    ],
)
def test_the_precision_of_a_configuration(config, precision):
    assert precision == knobs_of(config).precision
