"""The analytic memory model against what can be worked out by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest

from sweeper.core.memory.model import COMPONENTS, memory_need, memory_phases
from sweeper.core.memory.pieces import (
    PAGE_LOCKED_ROUNDING,
    Piece,
    page_locked,
    page_locked_rounding,
    peak_of_device,
    peak_of_process,
)
from sweeper.core.model_profile import Activations, Extent, ModelProfile
from tests.support import nano

MIB = 2**20
WIDTH, BLOCKS, VOCAB = 4096, 8, 32_000
BLOCK_SIZES = ((WIDTH, 2), (4 * WIDTH * WIDTH, 3))
BLOCK = sum(size * count for size, count in BLOCK_SIZES)
PARAMETERS = BLOCKS * BLOCK + VOCAB * WIDTH


def extent(constant=0.0, per_token=0.0):
    return Extent(constant=constant, per_token=per_token, per_token_pair=0.0)


def activations(width):
    """With elements of so many bytes."""
    unit = width * WIDTH
    return Activations(
        embedding_saved=extent(per_token=unit),
        block_input=extent(per_token=unit),
        block_saved=extent(per_token=16 * unit),
        block_forward=extent(per_token=17 * unit),
        head=extent(per_token=3 * 4 * VOCAB),
        carried=extent(constant=width * VOCAB * WIDTH),
        block_backward=extent(per_token=4 * unit),
        embedding_backward=extent(constant=2 * width * VOCAB * WIDTH),
    )


PROFILE = ModelProfile(
    num_parameters=PARAMETERS,
    parameter_sizes=(
        (WIDTH, 2 * BLOCKS),
        (4 * WIDTH * WIDTH, 3 * BLOCKS),
        (VOCAB * WIDTH, 1),
    ),
    num_blocks=BLOCKS,
    parameters_per_block=BLOCK,
    block_parameter_sizes=BLOCK_SIZES,
    expert_parameters_per_block=0,
    largest_module_parameters=VOCAB * WIDTH,
    first_stage_parameters=VOCAB * WIDTH,
    last_stage_parameters=VOCAB * WIDTH,
    max_positions=1024,
    vocab_size=VOCAB,
    modes={
        "fp32": (activations(4),),
        "bf16": (activations(2),),
        "autocast_bf16": (activations(3),),
    },
)


def need(**changes):
    given = {"workload.global_batch_size": 64, **changes}
    return memory_need(nano(**given), PROFILE)


def on_gpu(**changes):
    return need(**{"hardware.accelerator": "cuda", "precision.mode": "bf16", **changes})


def states(found):
    return sum(found.device.get(n, 0) for n in ("parameters", "master weights", "optimizer states"))


def test_a_profile_survives_json():
    assert ModelProfile.from_json(PROFILE.to_json()) == PROFILE


def test_a_profile_of_another_schema_is_refused():
    with pytest.raises(ValueError, match="schema_version"):
        ModelProfile.from_json({**PROFILE.to_json(), "schema_version": 0})


def test_sixteen_bits_with_adam_hold_fourteen_bytes_of_states_for_a_parameter():
    assert states(on_gpu()) == pytest.approx(14 * PARAMETERS)


def test_fp32_with_adam_holds_twelve():
    assert states(need()) == pytest.approx(12 * PARAMETERS)


def test_the_zero_optimizers_copy_the_weights_even_of_an_fp32_model():
    assert states(need(**{"zero.stage": 2})) == pytest.approx(16 * PARAMETERS)


@pytest.mark.parametrize(
    ("stage", "expected"), [(0, 14.0), (1, 2 + 12 / 4), (2, 2 + 12 / 4), (3, 14 / 4)]
)
def test_a_stage_shards_what_it_says_it_shards(stage, expected):
    found = on_gpu(**{"zero.stage": stage, "hardware.ranks": 4})
    always = states(found)
    if stage == 3:  # and what has been gathered at the moment of the peak
        assert expected * PARAMETERS <= always <= (expected + 2) * PARAMETERS * 1.001
    else:
        assert always == pytest.approx(expected * PARAMETERS, rel=1e-3)


def test_more_ranks_never_need_more_on_each():
    for stage in (1, 2, 3):
        needs = [
            on_gpu(**{"zero.stage": stage, "hardware.ranks": n}).peak_bytes for n in (2, 4, 8, 16)
        ]
        assert needs == sorted(needs, reverse=True)


def test_an_offloaded_optimizer_is_in_host_memory():
    found = on_gpu(**{"zero.stage": 2, "offload.optimizer": "cpu"})
    assert found.host["optimizer states"] == pytest.approx(8 * PARAMETERS)
    assert "optimizer states" not in found.device
    assert found.peak_bytes == found.device_bytes


def test_partial_offload_moves_whole_sub_groups():
    def share(ratio, size):
        changes = {"zero.stage": 3, "offload.optimizer": "cpu", "zero.sub_group_size": size}
        found = on_gpu(**changes, **{"offload.optimizer_ratio": ratio})
        return found.host.get("optimizer states", 0) / (8 * PARAMETERS)

    assert share(0.5, PARAMETERS // 10) == pytest.approx(0.5, abs=0.01)
    # One group cannot be split: all of it goes.
    assert share(0.5, 10 * PARAMETERS) == pytest.approx(1.0)


def test_sixteen_bit_states_halve_the_moments():
    changes = {"precision.bf16_master_weights": True, "precision.bf16_optimizer_states": True}
    found = on_gpu(**{"zero.stage": 2}, **changes)
    assert states(found) == pytest.approx((2 + 2 + 4) * PARAMETERS)


def test_a_smaller_bucket_saves_what_it_is_smaller():
    sizes = [10_000_000, 400_000_000]
    small, large = (
        on_gpu(**{"zero.stage": 3, "zero.reduce_bucket_size": size}).device[
            "buckets and communication"
        ]
        for size in sizes
    )
    assert large - small >= 2 * (sizes[1] - sizes[0])


def test_activations_grow_with_micro_batch_and_length():
    for name in ("batch.micro_size", "workload.sequence_length"):
        needs = [on_gpu(**{"batch.micro_size": 64, name: n}).peak_bytes for n in (256, 512, 1024)]
        assert all(larger > smaller for smaller, larger in pairwise(needs))


def test_without_recomputation_every_block_keeps_what_it_saves():
    found = on_gpu(**{"batch.micro_size": 64, "workload.sequence_length": 512})
    tokens = 64 * 512
    blocks = BLOCKS * 16 * 2 * WIDTH * tokens
    assert found.device["activations"] == pytest.approx(blocks, rel=0.1)


def test_recomputation_keeps_the_inputs_of_the_blocks_and_works_on_one():
    batch = {"batch.micro_size": 64, "workload.sequence_length": 512}
    whole = on_gpu(**batch).device["activations"]
    every = on_gpu(**batch, **{"checkpointing.every_nth_block": 1}).device["activations"]
    second = on_gpu(**batch, **{"checkpointing.every_nth_block": 2}).device["activations"]
    assert every < second < whole
    assert every < whole / 3


def test_recomputed_blocks_inputs_may_wait_in_host_memory():
    batch = {"batch.micro_size": 64, "workload.sequence_length": 512}
    changes = {**batch, "checkpointing.every_nth_block": 1, "checkpointing.on_cpu": True}
    assert on_gpu(**changes).host["activations"] == BLOCKS * 2 * WIDTH * 64 * 512


def test_ranks_that_share_a_sequence_have_a_part_of_its_activations():
    batch = {"batch.micro_size": 64, "workload.sequence_length": 512, "hardware.ranks": 4}
    shared = on_gpu(**batch, **{"parallel.sequence": 4})
    alone = on_gpu(**batch)
    assert shared.device["activations"] == pytest.approx(alone.device["activations"] / 4, rel=0.01)


def test_tensor_parallel_ranks_share_the_blocks_parameters_and_not_the_table():
    found = on_gpu(**{"parallel.tensor": 4, "hardware.ranks": 4})
    expected = BLOCKS * BLOCK / 4 + VOCAB * WIDTH
    assert found.device["optimizer states"] == pytest.approx(8 * expected, rel=0.01)


def test_a_pipelines_stage_has_its_share_of_the_blocks_and_an_end():
    found = on_gpu(**{"parallel.pipeline": 2, "hardware.ranks": 2})
    expected = BLOCKS / 2 * BLOCK + VOCAB * WIDTH
    assert found.device["optimizer states"] == pytest.approx(8 * expected, rel=0.01)


def test_states_do_not_shrink_where_experts_are_spread():
    # Fewer ranks have the same experts, so that fewer share their optimizer states.
    mixture = replace(PROFILE, expert_parameters_per_block=8 * WIDTH * WIDTH)
    for stage in (1, 2):
        alone, spread = (
            memory_need(
                nano(
                    **{
                        "workload.global_batch_size": 64,
                        "hardware.accelerator": "cuda",
                        "precision.mode": "bf16",
                        "hardware.ranks": 4,
                        "zero.stage": stage,
                        "parallel.expert": degree,
                    }
                ),
                mixture,
            )
            for degree in (1, 4)
        )
        assert spread.device["optimizer states"] == pytest.approx(
            alone.device["optimizer states"], rel=0.01
        )
        experts = BLOCKS * 8 * WIDTH * WIDTH
        assert alone.device["parameters"] - spread.device["parameters"] == pytest.approx(
            2 * experts * 3 / 4, rel=0.35
        )


def test_the_stage_that_needs_most_is_not_the_one_with_most_parameters():
    # Of eight stages the first one is the table alone; those behind it hold activations.
    batch = {"batch.micro_size": 8, "workload.sequence_length": 512}
    deep = {"parallel.pipeline": 8, "hardware.ranks": 8, "workload.global_batch_size": 64}
    found = on_gpu(**deep, **batch)
    assert found.device["activations"] > 16 * 2 * WIDTH * 8 * 512


def test_the_first_stage_of_a_pipeline_holds_as_many_micro_batches_as_there_are_stages():
    batch = {"batch.micro_size": 32, "workload.sequence_length": 512}
    two = {"parallel.pipeline": 2, "hardware.ranks": 2, **batch}
    one_after_the_other = on_gpu(**two, **{"workload.global_batch_size": 32})
    overlapping = on_gpu(**two, **{"workload.global_batch_size": 256})
    ratio = overlapping.device["activations"] / one_after_the_other.device["activations"]
    assert ratio == pytest.approx(2.0, rel=0.05)


def test_what_is_allocated_and_not_touched_is_limited_and_not_resident():
    small = need(**{"zero.stage": 2, "zero.reduce_bucket_size": PARAMETERS})
    large = need(**{"zero.stage": 2, "zero.reduce_bucket_size": 10 * PARAMETERS})
    assert large.peak_bytes == small.peak_bytes
    assert large.limited_bytes >= small.limited_bytes + 8 * 4 * PARAMETERS


def test_on_the_cpu_device_and_host_are_one_memory():
    found = need(**{"zero.stage": 2, "offload.optimizer": "cpu"})
    assert found.peak_bytes == found.device_bytes + found.host_bytes


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_every_byte_belongs_to_a_component_with_a_name(accelerator):
    found = need(**{"hardware.accelerator": accelerator, "zero.stage": 3})
    assert set(found.device) | set(found.host) <= set(COMPONENTS)
    assert all(size > 0 for size in (*found.device.values(), *found.host.values()))


def piece(phase, size, **more):
    return Piece(component="gradients", phase=phase, bytes=size, **more)


def test_a_device_peaks_in_the_phase_that_needs_most():
    pieces = [piece("always", 10), piece("forward", 5), piece("step", 7)]
    assert sum(peak_of_device(pieces).device.values()) == 17


def test_small_blocks_that_were_freed_stay_resident_in_a_process():
    pieces = [piece("always", 10), piece("forward", 5, on_heap=True), piece("step", 7)]
    peak = peak_of_process(pieces)
    assert sum(peak.device.values()) == 22
    assert peak.device["workspace"] == 5


def at_stage_3(**changes):
    return on_gpu(**{"zero.stage": 3, "hardware.ranks": 8, **changes})


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_hpz_keeps_a_second_copy_of_the_weights_shared_by_its_group(ranks):
    copy = at_stage_3(**{"zero.hpz_partition_size": ranks}).device["parameters"]
    assert copy - at_stage_3().device["parameters"] == pytest.approx(2 * PARAMETERS / ranks, abs=2)


def test_the_second_copy_lives_where_the_weights_do():
    offloaded = {"offload.params": "cpu", "offload.optimizer": "cpu"}
    copied = at_stage_3(**offloaded, **{"zero.hpz_partition_size": 4})
    alone = at_stage_3(**offloaded)
    assert copied.device["parameters"] == alone.device["parameters"]
    assert copied.host["parameters"] - alone.host["parameters"] == pytest.approx(
        2 * PARAMETERS / 4, abs=2
    )


def test_quantised_weights_are_kept_in_sixteen_bits_and_fetched_in_eight():
    changes = {"zero.stage": 3, "hardware.ranks": 8, "hardware.accelerator": "cuda"}
    changes |= {"precision.mode": "bf16"}
    quantised, plain = (
        memory_phases(nano(**changes, **{"zero.quantized_weights": on}), PROFILE).device["forward"]
        for on in (True, None)
    )
    assert quantised["parameters"] == plain["parameters"]
    name = "buckets and communication"
    assert quantised[name] - plain[name] == VOCAB * WIDTH  # the largest one is fetched by itself


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_phase_that_needs_most_is_the_peak(accelerator, stage):
    changes = {
        "workload.global_batch_size": 64,
        "hardware.accelerator": accelerator,
        "zero.stage": stage,
        "hardware.ranks": 2,
    }
    found, phases = need(**changes), memory_phases(nano(**changes), PROFILE)
    if phases.device is None:
        places = [(phases.host, {**found.device, **found.host})]
    else:
        places = [(phases.host, found.host), (phases.device, found.device)]
    for there, peak in places:
        most = max(there, key=lambda phase: sum(there[phase].values()))
        assert peak == pytest.approx(there[most], abs=1)


def test_a_component_that_is_not_there_at_the_peak_has_a_phase_of_its_own():
    changes = {"workload.global_batch_size": 64, "hardware.accelerator": "cuda"}
    phases = memory_phases(nano(**{"precision.mode": "bf16", **changes}), PROFILE)
    assert "activations" not in phases.device["step"]
    assert phases.device["backward"]["activations"] > 0
    assert phases.device["reduce"]["buckets and communication"] > 0


def in_blocks(size, block=None):
    piece = Piece(component="gradients", phase="always", bytes=size, place="host")
    return sum(extra.bytes for extra in page_locked_rounding(page_locked([piece], block)))


@pytest.mark.parametrize(
    ("size", "block", "extra"),
    [
        (3 * MIB, None, MIB),
        (4 * MIB, None, 0),
        (4 * MIB + 1, None, 4 * MIB - 1),
        (9 * MIB, 3 * MIB, 3 * MIB),  # three blocks of 4
        (7 * MIB, 3 * MIB, 2 * MIB),  # two of them, and one that is a power of two
    ],
)
def test_each_page_locked_block_is_a_power_of_two(size, block, extra):
    assert extra == in_blocks(size, block)


OFFLOADED = {"zero.stage": 3, "offload.optimizer": "cpu", "hardware.ranks": 3}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_what_is_offloaded_to_page_locked_memory_takes_up_to_twice_as_much(stage):
    pinned = on_gpu(**OFFLOADED | {"zero.stage": stage})
    plain = on_gpu(**OFFLOADED | {"zero.stage": stage, "offload.pin_memory": False})
    extra = pinned.host[PAGE_LOCKED_ROUNDING]
    assert pinned.host_bytes == plain.host_bytes + extra
    assert 0 < extra < plain.host_bytes
    assert pinned.device == plain.device


def test_nothing_is_rounded_up_on_the_cpu_or_where_nothing_is_offloaded():
    offloaded = on_gpu(**OFFLOADED)
    assert PAGE_LOCKED_ROUNDING in offloaded.host
    for found in (
        need(**OFFLOADED, **{"offload.pin_memory": True}),
        on_gpu(**OFFLOADED | {"offload.optimizer": "none"}),
        on_gpu(**OFFLOADED, **{"offload.pin_memory": False}),
    ):
        assert PAGE_LOCKED_ROUNDING not in {**found.device, **found.host}


def test_checkpoints_on_the_host_are_page_locked_too():
    there = {"checkpointing.every_nth_block": 1, "checkpointing.on_cpu": True}
    three = {"batch.micro_size": 3, "workload.global_batch_size": 3}
    assert PAGE_LOCKED_ROUNDING in on_gpu(**there, **three).host
    assert PAGE_LOCKED_ROUNDING not in on_gpu(**there).host  # a block's input is a power of two
