"""The smallest changes that make a training fit, by a memory model of a few lines."""

import pytest

from sweeper.core.ladders import ladders
from sweeper.core.machine import Machine
from sweeper.core.plan import plan
from sweeper.core.settings import with_values
from sweeper.core.spec import TrialSpec
from sweeper.core.what_fits import (
    Fit,
    largest_micro_size,
    shorter_sequence,
    sufficient_changes,
    sufficient_limit,
)
from tests.support import nano

MACHINE = Machine(cores=2, host_memory_bytes=2**40, devices=8)


def on_gpus(**changes):
    """Four GPUs with a micro-batch of 4, in bf16."""
    return nano(
        **{
            "hardware.accelerator": "cuda",
            "hardware.ranks": 4,
            "workload.global_batch_size": 64,
            "batch.micro_size": 4,
            "precision.mode": "bf16",
            **changes,
        }
    )


def units(settings):
    """Parameters 20, gradients 20, optimizer 120, activations 20 a sample: 240 on_gpus."""
    stage, ranks, offload = settings.zero.stage, settings.hardware.ranks, settings.offload
    parameters = 20 / (ranks if stage == 3 else 1) * (offload.params == "none")
    gradients = 20 / (ranks if stage >= 2 else 1)
    optimizer = 120 / (ranks if stage >= 1 else 1) * (offload.optimizer == "none")
    share = {0: 1.0, 2: 0.6, 1: 0.2}[settings.checkpointing.every_nth_block]
    return parameters + gradients + optimizer + 20 * settings.batch.micro_size * share


def need_within(limit):
    """Certain on either side of the limit; None for what the rules forbid."""

    def need(settings):
        planned = plan(settings, MACHINE)
        if not isinstance(planned.ready, TrialSpec):
            return None
        needs = units(planned.settings)
        there = needs <= limit
        return Fit(
            mean_bytes=needs,
            host_bytes=0,
            probability=float(there),
            enough=there,
            fullness=needs / limit,
        )

    return need


def answers_to(settings, need):
    return sufficient_changes(settings, need).answers


def typed(answers):
    return [{change.typed for change in answer.changes} for answer in answers]


def test_single_changes_come_first_and_the_cheapest_of_them_before_the_others():
    found = typed(answers_to(on_gpus(), need_within(200)))
    assert [{"batch.micro_size=2"}, {"zero=stage1"}, {"checkpointing=full"}] == found[:3]


def test_no_change_goes_further_than_it_must():
    for members in typed(answers_to(on_gpus(), need_within(200))):
        assert not members & {"batch.micro_size=1", "zero=stage2", "zero=stage3"}


def test_an_answer_is_not_enough_when_one_of_its_changes_is_left_out():
    for limit in (40, 80, 120, 160, 200):
        settings, need = on_gpus(), need_within(limit)
        for answer in answers_to(settings, need):
            assert answer.fit.enough
            for left_out in answer.changes:
                changed = settings
                for change in answer.changes:
                    if change is not left_out:
                        changed = with_values(changed, change.values)
                fit = need(changed)
                assert fit is None or not fit.enough


def test_no_answer_holds_another_one():
    answers = typed(answers_to(on_gpus(), need_within(120)))
    assert answers
    assert not any(one < other for one in answers for other in answers)


def test_pairs_are_found_where_no_single_change_is_enough():
    answers = answers_to(on_gpus(), need_within(80))
    assert {2} == {len(answer.changes) for answer in answers}
    assert {"zero=stage2", "checkpointing=full"} in typed(answers)


def test_more_than_two_changes_are_told_only_where_two_are_not_enough():
    assert {3} <= {len(a.changes) for a in answers_to(on_gpus(), need_within(30))}
    assert 3 not in {len(a.changes) for a in answers_to(on_gpus(), need_within(120))}


def test_a_change_that_needs_another_comes_with_it():
    offloading = [
        members
        for members in typed(answers_to(on_gpus(), need_within(130)))
        if "offload=optimizer" in members
    ]
    assert offloading
    assert all(any(name.startswith("zero=") for name in members) for members in offloading)


def test_every_answer_is_a_plan_that_the_rules_allow():
    settings = on_gpus(**{"offload.optimizer": "cpu"})  # not allowed at stage 0
    answers = answers_to(settings, need_within(200))
    assert {"zero=stage1"} in typed(answers)
    assert all(isinstance(plan(a.settings, MACHINE).ready, TrialSpec) for a in answers)


def test_nothing_is_said_where_nothing_helps():
    assert () == answers_to(on_gpus(), need_within(1))


def test_a_likely_fit_is_not_enough():
    def need(settings):
        return Fit(mean_bytes=1.0, host_bytes=0, probability=0.9, enough=False, fullness=1.0)

    assert () == answers_to(on_gpus(), need)


def test_more_devices_are_proposed_last_and_never_more_ranks_on_one_cpu():
    found = answers_to(on_gpus(**{"zero.stage": 1}), need_within(140))
    singles = [answer.changes[0].ladder for answer in found if len(answer.changes) == 1]
    assert "hardware.ranks" == singles[-1]
    on_cpu = [change for ladder in ladders(nano()) for change in ladder]
    assert "hardware.ranks" not in {change.ladder for change in on_cpu}


@pytest.mark.parametrize(
    "settings",
    [
        on_gpus(),
        on_gpus(**{"precision.mode": "fp32", "zero.stage": 2}),
        on_gpus(
            **{"checkpointing.every_nth_block": 2, "zero.stage": 3, "offload.optimizer": "cpu"}
        ),
        nano(),
    ],
)
def test_every_change_sets_something_else_than_what_is_there(settings):
    for ladder in ladders(settings):
        for change in ladder:
            assert with_values(settings, change.values) != settings


def test_offloading_all_of_the_optimizer_takes_a_partial_ratio_back():
    partial = with_values(
        on_gpus(**{"zero.stage": 3, "offload.optimizer": "cpu"}), {"offload.optimizer_ratio": 0.5}
    )
    (whole,) = [c for ladder in ladders(partial) for c in ladder if c.typed == "offload=optimizer"]
    assert None is with_values(partial, whole.values).offload.optimizer_ratio


def test_the_largest_micro_batch_that_fits_divides_the_samples_of_a_rank():
    assert 8 == largest_micro_size(on_gpus(), need_within(330))
    assert 16 == largest_micro_size(on_gpus(), need_within(10_000))  # all samples of a rank
    assert None is largest_micro_size(on_gpus(), need_within(250))


def on_layouts(**changes):
    """Eight GPUs and a model whose 25 heads no even number divides."""
    return on_gpus(**{"hardware.ranks": 8, "model.heads": 25, "model.layers": 48, **changes})


def shared_by_all(limit):
    """As need_within, of a model whose parts are shared by tensor, pipeline and sequence ranks."""

    def need(settings):
        planned = plan(settings, MACHINE)
        if not isinstance(planned.ready, TrialSpec):
            return None
        degrees = settings.parallel
        needs = 240 / (degrees.tensor * degrees.pipeline * degrees.sequence)
        there = needs <= limit
        return Fit(
            mean_bytes=needs,
            host_bytes=0,
            probability=float(there),
            enough=there,
            fullness=needs / limit,
        )

    return need


def test_ranks_that_share_the_model_are_proposed_where_the_plan_allows_it():
    found = typed(answers_to(on_layouts(), shared_by_all(100)))
    assert [{"parallel=pipeline4"}] == [members for members in found if len(members) == 1]
    assert not any("parallel=tensor" in name for members in found for name in members)
    even = typed(answers_to(on_layouts(**{"model.heads": 24}), shared_by_all(100)))
    assert {"parallel=sequence4"} == even[0]
    assert {"parallel=tensor4"} in even


def test_a_model_is_not_shared_by_a_rank_alone_and_comes_with_the_ranks_for_it():
    found = typed(answers_to(on_layouts(**{"hardware.ranks": 1}), shared_by_all(130)))
    assert {"hardware.ranks=2", "parallel=pipeline2"} in found
    assert {"parallel=pipeline2"} not in found


def test_a_layout_takes_the_place_of_the_one_before():
    split = on_layouts(**{"parallel.pipeline": 2})
    (proposed,) = [
        c for ladder in ladders(split) for c in ladder if c.typed == "parallel=sequence4"
    ]
    assert (4, 1) == (
        (changed := with_values(split, proposed.values)).parallel.sequence,
        changed.parallel.pipeline,
    )


def test_where_nothing_is_enough_what_needs_least_is_told():
    found = sufficient_changes(on_gpus(), need_within(1))
    assert () == found.answers
    assert 0 < found.closest.fit.mean_bytes < units(on_gpus()) / 10
    assert found.closest.fit.mean_bytes == units(found.closest.settings)


def host_units(settings):
    """What is offloaded: the optimizer 120, parameters 20 more; a tenth less where not page-locked."""
    offload = settings.offload
    states = 120 * (offload.optimizer == "cpu") + 20 * (offload.params == "cpu")
    return states * (0.9 if offload.pin_memory is False else 1.0)


def need_of_both(device, host):
    def need(settings):
        planned = plan(settings, MACHINE)
        if not isinstance(planned.ready, TrialSpec):
            return None
        needs = units(planned.settings), host_units(planned.settings)
        fullness = max(needs[0] / device, needs[1] / host)
        there = fullness <= 1.0
        return Fit(
            mean_bytes=needs[0],
            host_bytes=round(needs[1]),
            probability=float(there),
            enough=there,
            fullness=fullness,
        )

    return need


OFFLOADED = {"zero.stage": 3, "offload.optimizer": "cpu"}


def test_where_the_host_is_short_what_needs_least_of_it_is_told():
    both = on_gpus(**OFFLOADED, **{"offload.params": "cpu"})
    found = sufficient_changes(both, need_of_both(device=15, host=100))
    assert () == found.answers
    assert found.closest.fit.host_bytes < 140
    assert "optimizer_and_params" not in " ".join(c.typed for c in found.closest.changes)


def test_what_was_offloaded_comes_back_where_the_devices_have_room_for_it():
    (first, *_) = answers_to(on_gpus(**OFFLOADED), need_of_both(device=130, host=100))
    assert ("offload=none",) == tuple(change.typed for change in first.changes)
    assert "none" == first.settings.offload.optimizer


def test_memory_that_is_not_page_locked_is_proposed_where_that_is_enough():
    answers = answers_to(on_gpus(**OFFLOADED), need_of_both(device=100, host=110))
    assert {"offload.pin_memory=false"} in typed(answers)


def test_nothing_comes_back_from_a_host_that_is_the_device_too():
    on_cpu = nano(**OFFLOADED)
    assert "offload=none" not in {c.typed for ladder in ladders(on_cpu) for c in ladder}


def test_a_shorter_sequence_is_the_longest_half_that_is_enough():
    def need(settings):
        length = settings.workload.sequence_length
        return Fit(
            mean_bytes=length,
            host_bytes=0,
            probability=1.0,
            enough=length <= 300,
            fullness=length / 300,
        )

    whole = on_gpus(**{"model.max_positions": 1024, "workload.sequence_length": 1024})
    assert "workload.sequence_length=256" == shorter_sequence(whole, need).changes[0].typed
    short = with_values(whole, {"workload.sequence_length": 64})
    assert None is shorter_sequence(short, need)


def with_buckets(limit):
    """As need_within, with a bucket of 50 from stage 1 on, and 25 that are kept gathered at stage 3."""

    def need(settings):
        acting = plan(settings, MACHINE).settings
        zero, fit = acting.zero, need_within(limit)(settings)
        if fit is None:
            return None
        bucket = (zero.reduce_bucket_size or 500_000_000) / 10_000_000 * (zero.stage >= 1)
        kept = (zero.stage3_max_reuse_distance or 1_000_000_000) / 40_000_000 * (zero.stage == 3)
        needs = fit.mean_bytes + bucket + kept
        return Fit(
            mean_bytes=needs,
            host_bytes=0,
            probability=1.0,
            enough=needs <= limit,
            fullness=needs / limit,
        )

    return need


def test_a_smaller_bucket_is_proposed_with_the_stage_at_which_it_acts():
    found = typed(answers_to(on_gpus(), with_buckets(160)))
    assert {"zero=stage1", "zero.reduce_bucket_size=50000000"} in found
    buckets = [names for names in found if any("bucket" in name for name in names)]
    assert all(any(name.startswith("zero=") for name in names) for names in buckets)
    sharded = typed(answers_to(on_gpus(**{"zero.stage": 1}), with_buckets(160)))
    assert {"zero.reduce_bucket_size=50000000"} in sharded


def test_no_bucket_is_proposed_that_is_not_needed():
    answers = answers_to(on_gpus(), with_buckets(205))
    assert {"zero=stage1"} in typed(answers)
    assert not any("bucket" in name for names in typed(answers) for name in names)


def test_a_bucket_is_as_large_as_it_may_be_and_smaller_than_what_was_typed():
    sharded = on_gpus(**{"zero.stage": 1, "zero.reduce_bucket_size": 50_000_000})
    found = typed(answers_to(sharded, with_buckets(151)))
    assert {"zero.reduce_bucket_size=5000000"} in found
    small = with_values(sharded, {"zero.reduce_bucket_size": 5_000_000})
    assert not any(c.ladder.endswith("bucket_size") for ladder in ladders(small) for c in ladder)


def test_what_stage_3_keeps_gathered_is_less_where_that_is_enough():
    partitioned = on_gpus(**{"zero.stage": 3, "zero.reduce_bucket_size": 5_000_000})
    assert {"zero.stage3_max_reuse_distance=100000000"} in typed(
        answers_to(partitioned, with_buckets(125))
    )


@pytest.mark.parametrize(
    ("typed_hpz", "per_node", "with_eight"),
    [(4, None, 8), (4, 4, 4), (2, None, 2), (None, 4, None)],
)
def test_the_second_copy_of_hpz_grows_with_its_node_where_it_is_as_large(
    typed_hpz, per_node, with_eight
):
    settings = on_gpus(
        **{
            "zero.stage": 3,
            "zero.hpz_partition_size": typed_hpz,
            "hardware.ranks_per_node": per_node,
        }
    )
    (eight,) = [c for ladder in ladders(settings) for c in ladder if c.typed == "hardware.ranks=8"]
    assert with_eight == with_values(settings, eight.values).zero.hpz_partition_size


def test_a_limit_that_is_enough_is_the_smallest_round_one():
    def need(settings):
        enough = (settings.hardware.memory_limit_bytes or 0) >= 650 * 2**20
        return Fit(mean_bytes=1.0, host_bytes=0, probability=1.0, enough=enough, fullness=1.0)

    (change,) = sufficient_limit(nano(), "hardware.memory_limit", need).changes
    assert "hardware.memory_limit=704MiB" == change.typed
    assert None is sufficient_limit(nano(), "hardware.memory_limit", need_within(1))
