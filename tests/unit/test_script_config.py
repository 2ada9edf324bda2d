"""A candidate's settings in the place of a script's own configuration, as DeepSpeed's own parsers read both."""

import pytest

pytest.importorskip("deepspeed")

from sweeper.core.plan import plan
from sweeper.core.script_config import substituted, with_typed, without_side_effects
from sweeper.worker.ds_resolved import resolve
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
ITS_SETTINGS = {
    "zero.stage": 2,
    "zero.reduce_bucket_size": 1000,
    "precision.mode": "bf16",
    "batch.micro_size": 2,
}


def candidate(**changes):
    return plan(nano(**{**ITS_SETTINGS, **changes}), MACHINE).ready.ds_config


def plain(**changes):
    """Of a script that says nothing of buckets."""
    return candidate(**{"zero.reduce_bucket_size": None, "precision.mode": "fp32", **changes})


def zero_of(own, wanted, **how):
    return substituted(own, wanted, resolve, **how)["zero_optimization"]


def test_the_scripts_own_settings_leave_its_configuration_as_it_is():
    assert OWN == substituted(OWN, candidate(), resolve)


@pytest.mark.parametrize(
    ("own", "changes"),
    [
        ({"train_batch_size": 8}, {"batch.micro_size": 8}),
        ({"train_batch_size": 8, "gradient_accumulation_steps": 4}, {}),
        ({"train_batch_size": 8, "train_micro_batch_size_per_gpu": 1}, {"batch.micro_size": 1}),
        (
            {"train_micro_batch_size_per_gpu": 8, "fp16": {"enabled": False}},
            {"batch.micro_size": 8},
        ),
        ({"train_batch_size": 8, "bf16": {"enabled": "false"}}, {"batch.micro_size": 8}),
        ({"train_batch_size": 8, "bf16": None}, {"batch.micro_size": 8}),
        (
            {"train_batch_size": 8, "zero_optimization": {"offload_optimizer": {"device": "none"}}},
            {"batch.micro_size": 8},
        ),
        (
            {"train_batch_size": 8, "zero_optimization": True},
            {"zero.stage": 1, "batch.micro_size": 8},
        ),
    ],
    ids=[
        "the global batch alone",
        "without a micro-batch",
        "without accumulation",
        "the micro-batch alone",
        "off, in letters",
        "nothing of bf16",
        "no stage and no offload",
        "ZeRO is true",
    ],
)
def test_what_is_left_out_or_said_otherwise_counts_as_deepspeed_takes_it(own, changes):
    assert own == substituted(own, plain(**{"zero.stage": 0, **changes}), resolve)


def test_a_batch_that_is_not_the_implied_one_is_given_whole():
    config = substituted({"train_batch_size": 8}, plain(**{"zero.stage": 0}), resolve)
    assert (8, 2, 4) == (
        config["train_batch_size"],
        config["train_micro_batch_size_per_gpu"],
        config["gradient_accumulation_steps"],
    )


def test_bf16_in_letters_is_switched_on_by_a_candidate_that_has_it():
    own = {"train_batch_size": 8, "bf16": {"enabled": "false"}}
    assert {"enabled": True} == substituted(own, candidate(), resolve)["bf16"]


LEGACY = {
    "train_batch_size": 8,
    "zero_optimization": {"stage": 2, "cpu_offload": True, "cpu_offload_use_pin_memory": False},
}


def test_offload_by_its_old_name_is_offload():
    wanted = plain(**{"offload.optimizer": "cpu", "batch.micro_size": 8})
    assert LEGACY == substituted(LEGACY, wanted, resolve)


def test_the_old_name_goes_where_a_candidate_says_otherwise():
    assert {"stage": 2} == zero_of(LEGACY, plain(**{"batch.micro_size": 8}))
    own = {**LEGACY, "zero_optimization": {"stage": 3, "cpu_offload_param": True}}
    wanted = plain(**{"zero.stage": 3, "offload.optimizer": "cpu", "batch.micro_size": 8})
    assert {"stage": 3, "offload_optimizer": {"device": "cpu", "pin_memory": False}} == zero_of(
        own, wanted
    )


def test_offload_of_its_own_keeps_its_details():
    zero = {
        "stage": 2,
        "offload_optimizer": {"device": "cpu", "pin_memory": True, "buffer_count": 8},
    }
    own = {**OWN, "zero_optimization": {**OWN["zero_optimization"], **zero}}
    assert own == substituted(own, candidate(**{"offload.optimizer": "cpu"}), resolve)
    assert "offload_optimizer" not in zero_of(own, candidate())


def test_a_ratio_stays_behind_at_the_stage_that_knows_it():
    zero = {"stage": 3, "offload_optimizer": {"device": "cpu", "ratio": 0.3}}
    own = {**OWN, "zero_optimization": zero}
    wanted = candidate(**{"offload.optimizer": "cpu", "zero.reduce_bucket_size": None})
    assert {"stage": 2, "offload_optimizer": {"device": "cpu"}} == zero_of(own, wanted)


def test_a_key_bound_to_a_stage_stays_behind_there():
    own = {**OWN, "zero_optimization": {"stage": 2, "compute_grad_norm": False}}
    at_three = zero_of(own, candidate(**{"zero.stage": 3, "zero.reduce_bucket_size": None}))
    assert {"stage": 3} == at_three


def test_nvme_below_stage_3_is_the_cpu():
    zero = {"stage": 2, "offload_optimizer": {"device": "nvme", "nvme_path": "/fast"}}
    own = {**OWN, "zero_optimization": zero}
    wanted = {"offload.optimizer": "cpu", "zero.reduce_bucket_size": None}
    assert own == substituted(own, candidate(**wanted), resolve)
    assert (
        "cpu"
        == zero_of(own, candidate(**wanted, **{"zero.stage": 3}))["offload_optimizer"]["device"]
    )


def test_what_deepspeed_ignores_beside_the_candidate_is_left_where_it_is():
    own = {
        **OWN,
        "zero_optimization": {**OWN["zero_optimization"], "stage3_prefetch_bucket_size": 7},
    }
    left = ("zero.stage3_prefetch_bucket_size",)
    assert own == substituted(own, candidate(), resolve, left_alone=left)
    at_three = candidate(**{"zero.stage": 3, "zero.stage3_prefetch_bucket_size": 9})
    assert 9 == zero_of(own, at_three)["stage3_prefetch_bucket_size"]


def test_a_value_that_the_candidate_leaves_to_deepspeed_is_taken_out():
    without = zero_of(OWN, candidate(**{"zero.reduce_bucket_size": None}))
    assert {"stage": 2, "allgather_partitions": True} == without


def test_stage_and_offload_are_changed_and_the_other_zero_keys_stay():
    zero = zero_of(OWN, candidate(**{"zero.stage": 3, "offload.optimizer": "cpu"}))
    assert (3, 1000, True, "cpu") == (
        zero["stage"],
        zero["reduce_bucket_size"],
        zero["allgather_partitions"],
        zero["offload_optimizer"]["device"],
    )


def test_optimizer_schedule_and_clipping_stay_the_scripts():
    config = substituted(OWN, candidate(**{"zero.stage": 1, "batch.micro_size": 4}), resolve)
    for name in ("optimizer", "scheduler", "gradient_clipping"):
        assert OWN[name] == config[name]


def test_another_precision_replaces_its_section():
    config = substituted(OWN, candidate(**{"precision.mode": "fp32"}), resolve)
    assert "bf16" not in config
    config = substituted(OWN, candidate(**{"precision.mode": "autocast_bf16"}), resolve)
    assert config["torch_autocast"]["enabled"]
    assert "bf16" not in config


def test_what_a_framework_would_fill_in_becomes_the_candidates():
    own = {
        "train_micro_batch_size_per_gpu": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
    }
    config = substituted(own, candidate(**{"zero.reduce_bucket_size": None}), resolve)
    assert 2 == config["train_micro_batch_size_per_gpu"]
    assert {"enabled": True} == config["bf16"]
    assert "fp16" not in config
    assert "auto" == config["zero_optimization"]["reduce_bucket_size"]


@pytest.mark.parametrize("own", [OWN, LEGACY], ids=["today's", "the old names"])
@pytest.mark.parametrize(
    "changes", [{}, {"zero.stage": 3, "offload.optimizer": "cpu", "precision.mode": "fp32"}]
)
def test_doing_it_twice_changes_nothing(own, changes):
    once = substituted(own, candidate(**changes), resolve)
    assert once == substituted(once, candidate(**changes), resolve)


def test_a_raw_key_that_is_typed_is_in_it():
    raw = {
        "zero_optimization": {"sub_group_size": 7},
        "seq_parallel_communication_data_type": "bf16",
    }
    config = substituted(OWN, candidate(ds=raw), resolve)
    assert 7 == config["zero_optimization"]["sub_group_size"]
    assert "bf16" == config["seq_parallel_communication_data_type"]


def test_what_acts_beside_the_training_is_off_and_told():
    own = {
        **OWN,
        "csv_monitor": {"enabled": True, "output_path": "logs"},
        "wandb": {"enabled": False},
        "autotuning": {"enabled": True},
        "wall_clock_breakdown": True,
    }
    quiet, off = without_side_effects(own)
    assert ("csv_monitor", "autotuning", "wall_clock_breakdown") == off
    assert {n: v for n, v in OWN.items() if n != "wall_clock_breakdown"} == quiet


# What was typed, on two ranks
@pytest.mark.parametrize(
    ("own", "changes", "triple"),
    [
        ({"train_batch_size": 64}, {"batch.micro_size": 4}, (64, 4, 8)),
        (
            {
                "train_batch_size": 64,
                "train_micro_batch_size_per_gpu": 4,
                "gradient_accumulation_steps": 2,
            },
            {"workload.global_batch_size": 32},
            (32, 4, 4),
        ),
        (
            {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2},
            {"batch.micro_size": 2},
            (16, 2, 4),
        ),
        (
            {"train_micro_batch_size_per_gpu": 6, "gradient_accumulation_steps": 1},
            {"workload.global_batch_size": 20},
            (20, 5, 2),
        ),
        (
            {"train_micro_batch_size_per_gpu": 4},
            {"workload.global_batch_size": 64, "batch.micro_size": 16},
            (64, 16, 2),
        ),
    ],
    ids=[
        "the micro-batch",
        "the global batch",
        "the micro-batch of an implied batch",
        "the global batch, which its micro-batch does not divide",
        "both",
    ],
)
def test_a_batch_that_is_typed_keeps_what_is_not(monkeypatch, own, changes, triple):
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = {"zero.stage": 0, "hardware.ranks": 2, "workload.global_batch_size": 64, **changes}
    config = with_typed(own, plain(**settings), resolve, list(changes), ranks=2)
    assert triple == (
        config["train_batch_size"],
        config["train_micro_batch_size_per_gpu"],
        config["gradient_accumulation_steps"],
    )


def test_what_is_typed_is_all_that_changes():
    config = with_typed(
        OWN, candidate(**{"precision.mode": "fp32"}), resolve, ["precision"], ranks=1
    )
    assert {n: v for n, v in OWN.items() if n != "bf16"} == config
    config = with_typed(LEGACY, plain(**{"zero.stage": 3}), resolve, ["zero"], ranks=1)
    assert {**LEGACY["zero_optimization"], "stage": 3} == config["zero_optimization"]
    config = with_typed(LEGACY, plain(), resolve, ["offload"], ranks=1)
    assert {"stage": 2} == config["zero_optimization"]


BROKEN = {
    "zero.stage": ({"zero_optimization": 3}, {"stage": 1}),
    "zero": ({"zero_optimization": {"stage": 7, "reduce_bucket_size": 10}}, None),
    "offload.optimizer": ({"zero_optimization": {"stage": 1, "offload_optimizer": "cpu"}}, None),
    "precision.mode": ({"bf16": True, "fp16": []}, None),
    "precision": ({"bf16": {"enabled": True}, "fp16": {"enabled": True}}, None),
}


@pytest.mark.parametrize("typed", BROKEN)
def test_what_is_typed_stands_in_the_place_of_what_deepspeed_refuses(typed):
    own = {**OWN, "zero_optimization": {"stage": 1}, **BROKEN[typed][0]}
    wanted = plain(**{"zero.stage": 1, "precision.mode": "bf16"})
    as_it_is = with_typed(own, wanted, resolve, [typed], ranks=1)
    trial = substituted(own, wanted, resolve)
    for config in (as_it_is, trial):
        found = resolve(config)
        assert (1, "bf16", "none") == (found.stage, found.precision, found.offload_optimizer)
    if typed == "zero":
        assert 10 == as_it_is["zero_optimization"]["reduce_bucket_size"]


def test_what_is_not_typed_stays_refused():
    own = {**OWN, "bf16": True}
    assert with_typed(own, plain(), resolve, ["zero"], ranks=1)["bf16"] is True


@pytest.mark.parametrize("micro", ["4", 0, 2.5, None])
def test_a_micro_batch_that_is_typed_stands_in_the_place_of_one_that_is_none(micro):
    own = {"train_micro_batch_size_per_gpu": micro, "gradient_accumulation_steps": 4}
    config = with_typed(
        own, plain(**{"batch.micro_size": 2}), resolve, ["batch.micro_size"], ranks=1
    )
    assert (2, 8) == (config["train_micro_batch_size_per_gpu"], config["train_batch_size"])


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        ({}, "fp32"),
        ({"fp16": {"enabled": True}}, "fp16"),
        ({"bfloat16": {"enabled": True}}, "bf16"),
        ({"bf16": {"enabled": "true"}}, "bf16"),
        ({"bf16": {"enabled": "false"}}, "fp32"),
        ({"torch_autocast": {"enabled": True, "dtype": "bfloat16"}}, "autocast_bf16"),
        ({"torch_autocast": {"enabled": True, "dtype": "float16"}}, None),
        ({"bf16": {"enabled": "auto"}}, None),
        ({"bf16": {"enabled": True}, "fp16": {"enabled": True}}, None),
    ],
)
def test_the_precision_of_a_configuration(config, precision):
    assert precision == resolve(config).precision


def test_what_stands_in_a_configuration_and_what_deepspeed_takes_else():
    zero = {
        "stage": 3,
        "prefetch_bucket_size": 1e6,
        "offload_optimizer": {"device": "cpu", "ratio": 0.3},
    }
    found = resolve({"zero_optimization": zero, "communication_data_type": "fp32"})
    assert {"zero.stage3_prefetch_bucket_size", "offload.optimizer_ratio"} == set(found.given)
    assert (1_000_000, 0.3, 500_000_000) == (
        found.values["zero.stage3_prefetch_bucket_size"],
        found.values["offload.optimizer_ratio"],
        found.values["zero.reduce_bucket_size"],
    )
    assert (3, "cpu", "none", "fp32", None) == (
        found.stage,
        found.offload_optimizer,
        found.offload_param,
        found.communication_dtype,
        found.batch,
    )
