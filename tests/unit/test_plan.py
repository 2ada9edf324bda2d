import json

import pytest

from sweeper.core.machine import Machine
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.plan import plan
from sweeper.core.rules import FORBIDDEN, IGNORED, NEEDS
from sweeper.core.spec import TrialSpec
from tests.support import MACHINE, nano


def test_the_global_batch_stays_what_was_asked_for():
    for ranks in (1, 2):
        for micro_size in (1, 2, 4):
            spec = plan(
                nano(**{"hardware.ranks": ranks, "batch.micro_size": micro_size}), MACHINE
            ).ready
            assert isinstance(spec, TrialSpec)
            assert 8 == micro_size * ranks * spec.accumulation_steps
            assert 8 == spec.ds_config["train_batch_size"]


def test_a_micro_batch_that_does_not_divide_the_global_batch_is_infeasible_with_the_numbers():
    refused = plan(nano(**{"batch.micro_size": 3, "hardware.ranks": 2}), MACHINE).ready
    assert isinstance(refused, Infeasible)
    assert refused.rule == "micro-batches-fill-the-global-batch"
    assert "global batch of 8 is not a multiple of 3 (batch.micro_size) x 2" in refused.reason


def test_a_larger_misfit_has_a_larger_violation():
    violations = [plan(nano(**{"batch.micro_size": n}), MACHINE).ready.violation for n in (16, 64)]
    assert 0 < violations[0] < violations[1]


def test_optimizer_offload_at_stage_0_is_infeasible():
    refused = plan(nano(**{"offload.optimizer": "cpu"}), MACHINE).ready
    assert isinstance(refused, Infeasible)
    assert "stage 1, 2 or 3" in refused.reason


@pytest.mark.parametrize("stage", [1, 2])
def test_parameter_offload_below_stage_3_leaves_the_key_and_says_so(stage):
    without = plan(nano(**{"zero.stage": stage, "offload.optimizer": "cpu"}), MACHINE)
    with_it = plan(
        nano(**{"zero.stage": stage, "offload.optimizer": "cpu", "offload.params": "cpu"}), MACHINE
    )
    assert without.key == with_it.key
    assert without.ready == with_it.ready
    assert "offload.params=cpu does nothing" in with_it.notes[0]


def test_parameter_offload_at_stage_3_acts():
    without = plan(nano(**{"zero.stage": 3}), MACHINE)
    with_it = plan(nano(**{"zero.stage": 3, "offload.params": "cpu"}), MACHINE)
    assert without.key != with_it.key
    assert "offload_param" in with_it.ready.ds_config["zero_optimization"]


def test_the_loss_scale_tells_candidates_apart_in_fp16_only():
    name = "precision.fp16_initial_scale_power"
    keys = {plan(nano(**{name: power}), MACHINE).key for power in (8, 12)}
    fp16 = {plan(nano(**{name: p, "precision.mode": "fp16"}), MACHINE).key for p in (8, 12)}
    assert (1, 2) == (len(keys), len(fp16))


def test_how_long_we_wait_is_no_part_of_the_work():
    keys = {plan(nano(**{"launch.timeout_seconds": s}), MACHINE).key for s in (10.0, 20.0)}
    assert 1 == len(keys)


def test_what_the_machine_lacks_is_unsupported_before_any_process():
    machine = Machine(cores=2, host_memory_bytes=2**34, fp16=False, device_name="a CPU")
    refused = plan(nano(**{"precision.mode": "fp16"}), machine).ready
    assert Unsupported(reason="fp16 is not supported on a CPU") == refused


def test_more_ranks_than_devices_are_unsupported():
    machine = Machine(cores=2, host_memory_bytes=2**34, devices=1)
    refused = plan(nano(**{"hardware.accelerator": "cuda", "hardware.ranks": 2}), machine).ready
    assert isinstance(refused, Unsupported)
    assert "there are 1" in refused.reason


def test_a_sequence_longer_than_the_model_is_infeasible():
    assert isinstance(plan(nano(**{"workload.sequence_length": 129}), MACHINE).ready, Infeasible)
    assert isinstance(plan(nano(**{"workload.sequence_length": 128}), MACHINE).ready, TrialSpec)


def test_a_rank_on_the_cpu_always_has_a_limit_and_takes_its_share():
    assert (
        MACHINE.host_memory_bytes // 2
        == plan(nano(**{"hardware.ranks": 2}), MACHINE).ready.memory_limit_bytes
    )
    asked = plan(nano(**{"hardware.memory_limit": "3GiB"}), MACHINE).ready
    assert 3 * 2**30 == asked.memory_limit_bytes


def test_a_device_that_is_said_to_be_small_is_a_limit_unless_one_is_asked_for():
    small = {"hardware.device_memory": "3GiB", "hardware.accelerator": "cuda"}
    assert 3 * 2**30 == plan(nano(**small), MACHINE).ready.memory_limit_bytes
    both = plan(nano(**small, **{"hardware.memory_limit": "2GiB"}), MACHINE).ready
    assert 2 * 2**30 == both.memory_limit_bytes


def test_the_device_is_in_the_key_only_where_it_is_described():
    assert "device_memory" not in plan(nano(), MACHINE).key
    assert "device_memory" in plan(nano(**{"hardware.device_memory": "3GiB"}), MACHINE).key


def test_what_is_said_of_nodes_is_no_other_work():
    described = {
        "hardware.host_memory": "8GiB",
        "hardware.ranks_per_node": 4,
        "hardware.device_name": "NVIDIA H200",
        "hardware.host_cores": 8,
        "hardware.device_link_gigabytes_per_second": 450,
        "hardware.host_link_gigabytes_per_second": 64,
        "hardware.network_gigabytes_per_second": 50,
    }
    assert plan(nano(), MACHINE).key == plan(nano(**described), MACHINE).key


def test_a_specification_survives_json():
    spec = plan(nano(**{"zero.stage": 3, "offload.optimizer": "cpu"}), MACHINE).ready
    assert spec == TrialSpec.from_json(json.loads(json.dumps(spec.to_json())))
    with pytest.raises(ValueError, match="schema_version=99"):
        TrialSpec.from_json({**spec.to_json(), "schema_version": 99})


def test_the_ds_config_has_the_precision_and_the_optimizer_that_were_asked_for():
    def config(**changes):
        return plan(nano(**changes), MACHINE).ready.ds_config

    assert {"enabled": True} == config(**{"precision.mode": "bf16"})["bf16"]
    assert 12 == config(**{"precision.mode": "fp16"})["fp16"]["initial_scale_power"]
    assert "bfloat16" == config(**{"precision.mode": "autocast_bf16"})["torch_autocast"]["dtype"]
    assert config()["optimizer"]["params"]["torch_adam"] is True
    offloaded = config(**{"zero.stage": 2, "offload.optimizer": "cpu"})
    assert "torch_adam" not in offloaded["optimizer"]["params"]
    assert "cpu" == offloaded["zero_optimization"]["offload_optimizer"]["device"]


def test_cpu_adam_is_built_only_where_the_optimizer_is_offloaded():
    assert ("ShareMemCommBuilder",) == plan(nano(), MACHINE).ready.ops
    offloaded = plan(nano(**{"zero.stage": 1, "offload.optimizer": "cpu"}), MACHINE).ready
    assert "CPUAdamBuilder" in offloaded.ops


def test_a_knob_at_deepspeeds_own_value_is_the_same_candidate_as_null():
    own = plan(nano(**{"zero.stage": 2, "zero.reduce_bucket_size": 500_000_000}), MACHINE)
    assert plan(nano(**{"zero.stage": 2}), MACHINE).key == own.key
    assert () == own.notes
    small = plan(nano(**{"zero.stage": 2, "zero.reduce_bucket_size": 1_000_000}), MACHINE)
    assert own.key != small.key
    assert 1_000_000 == small.ready.ds_config["zero_optimization"]["reduce_bucket_size"]


@pytest.mark.parametrize(
    ("knob", "value", "acting", "ignoring"),
    [
        ("zero.sub_group_size", 1000, {"zero.stage": 3}, {"zero.stage": 2}),
        ("zero.hpz_partition_size", 2, {"zero.stage": 3, "hardware.ranks": 2}, {"zero.stage": 1}),
        ("zero.allgather_bucket_size", 1000, {"zero.stage": 1}, {"zero.stage": 3}),
        ("zero.round_robin_gradients", True, {"zero.stage": 2}, {"zero.stage": 3}),
        ("zero.reduce_scatter", False, {"zero.stage": 1}, {"zero.stage": 0}),
        (
            "zero.contiguous_gradients",
            False,
            {"zero.stage": 2},
            {"zero.stage": 2, "offload.optimizer": "cpu"},
        ),
        (
            "offload.optimizer_ratio",
            0.5,
            {"zero.stage": 3, "offload.optimizer": "cpu"},
            {"zero.stage": 3},
        ),
        ("precision.fp16_loss_scale", 128.0, {"precision.mode": "fp16"}, {}),
    ],
)
def test_a_knob_is_part_of_the_candidate_only_where_it_acts(knob, value, acting, ignoring):
    def plans(beside):
        return plan(nano(**beside), MACHINE), plan(nano(**{**beside, knob: value}), MACHINE)

    without, with_it = plans(acting)
    assert without.key != with_it.key
    assert isinstance(with_it.ready, TrialSpec)
    without, with_it = plans(ignoring)
    assert without.key == with_it.key
    assert without.ready == with_it.ready
    assert any(note.startswith(f"{knob}={value} does nothing") for note in with_it.notes)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("degrees-fill-the-ranks", {"parallel.tensor": 2}),
        ("degrees-divide-the-model", {"parallel.tensor": 4, "hardware.ranks": 4}),
        (
            "hugging-face-models-are-whole",
            {
                "model": {"_target_": "sweeper.models.hf.build", "config": "gpt2"},
                "parallel.tensor": 2,
                "hardware.ranks": 2,
            },
        ),
        ("experts-need-a-mixture", {"parallel.expert": 2, "hardware.ranks": 2}),
        (
            "pipeline-below-stage-2",
            {"parallel.pipeline": 2, "hardware.ranks": 2, "zero.stage": 2},
        ),
        (
            "one-way-to-split-a-model",
            {"parallel.pipeline": 2, "parallel.tensor": 2, "hardware.ranks": 4},
        ),
        (
            "partial-offload-needs-stage-3",
            {"zero.stage": 2, "offload.optimizer": "cpu", "offload.optimizer_ratio": 0.5},
        ),
        ("nvme-needs-a-path", {"zero.stage": 3, "offload.optimizer": "nvme"}),
        (
            "nvme-optimizer-needs-stage-3",
            {"zero.stage": 2, "offload.optimizer": "nvme", "offload.nvme_path": "/drive"},
        ),
        ("muon-needs-zero", {"optimizer.type": "Muon"}),
        ("muon-reduces-whole-gradients-at-stage-3", {"optimizer.type": "Muon", "zero.stage": 3}),
        ("stage-0-accumulates-in-its-own-dtype", {"precision.grad_accum_dtype": "bf16"}),
        ("deepcompile-needs-zero", {"compile.mode": "deepcompile"}),
    ],
)
def test_what_cannot_be_is_refused_by_its_rule(rule, changes):
    refused = plan(nano(**changes), MACHINE).ready
    assert isinstance(refused, Infeasible)
    assert rule == refused.rule


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        (
            "install libaio-dev",
            {"zero.stage": 3, "offload.optimizer": "nvme", "offload.nvme_path": "/drive"},
        ),
        ("needs a CUDA device", {"zero.stage": 3, "compile.mode": "deepcompile"}),
        (
            "needs a CUDA device",
            {"zero.stage": 3, "offload.optimizer": "cpu", "offload.super_offload": True},
        ),
        ("FusedLion", {"optimizer.type": "Lion"}),
    ],
)
def test_what_this_machine_lacks_is_unsupported_with_what_is_needed(said, changes):
    machine = Machine(cores=2, host_memory_bytes=2**34, libaio=False)
    refused = plan(nano(**changes), machine).ready
    assert isinstance(refused, Unsupported)
    assert said in refused.reason


def test_model_parallel_ranks_see_the_same_samples():
    spec = plan(nano(**{"hardware.ranks": 4, "parallel.tensor": 2}), MACHINE).ready
    assert 2 == spec.data_parallel
    assert 4 == spec.accumulation_steps  # 8 samples in micro-batches of 1 on 2 data-parallel ranks
    assert 2 == spec.ds_config["tensor_parallel"]["autotp_size"]


def test_raw_deepspeed_keys_are_carried_through_and_win():
    raw = {"zero_optimization": {"sub_group_size": 7, "stage": 1}, "steps_per_print": 5}
    planned = plan(nano(**{"ds": raw, "zero.stage": 3}), MACHINE)
    config = planned.ready.ds_config
    assert {"stage": 1, "sub_group_size": 7} == config["zero_optimization"]
    assert 5 == config["steps_per_print"]
    assert planned.key != plan(nano(**{"zero.stage": 3}), MACHINE).key
    assert () == planned.notes


def test_a_raw_key_that_deepspeed_would_ignore_is_said_with_the_one_that_was_meant():
    planned = plan(nano(**{"ds": {"zero_optimisation": {"stage": 3}}}), MACHINE)
    assert "did you mean zero_optimization?" in planned.notes[0]


def test_every_rule_has_an_id_of_its_own_and_a_source():
    rules = [*FORBIDDEN, *IGNORED, *NEEDS]
    assert len(rules) == len({rule.id for rule in rules})
    assert all(rule.source.startswith(("run: ", "source: ")) for rule in rules)


@pytest.mark.parametrize(("dropout", "said"), [(False, "off"), (True, "as its config says")])
def test_what_an_architecture_has_fixed_is_said(dropout, said):
    model = {"_target_": "sweeper.models.hf.build", "config": "gpt2", "dropout": dropout}
    planned = plan(nano(model={**model, "attention": "eager"}), MACHINE)
    assert planned.notes == (f"every candidate has attention eager and dropout {said}",)
