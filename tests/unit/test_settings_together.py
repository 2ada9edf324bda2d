import pytest

from sweeper.core.raw_keys import check_raw_keys
from sweeper.core.settings_together import check_together
from sweeper.errors import UsageError
from tests.support import nano


@pytest.mark.parametrize(
    ("changes", "said", "typed"),
    [
        (
            {"measure.min_steps": 10, "measure.max_steps": 5},
            "measure.min_steps=10 is more than measure.max_steps=5",
            "type measure.max_steps=10",
        ),
        (
            {"measure.min_warmup_steps": 9, "measure.max_warmup_steps": 2},
            "measure.min_warmup_steps=9 is more than measure.max_warmup_steps=2",
            "type measure.max_warmup_steps=9",
        ),
        ({"optimizer.betas": [0.9]}, "optimizer.betas=[0.9]: must be two numbers", "[0.9,0.999]"),
        ({"optimizer.betas": [2, 3]}, "optimizer.betas=[2,3]: must be two numbers", "[0.9,0.999]"),
        ({"optimizer.betas": [0.9, 1.0]}, "from 0 to below 1", "[0.9,0.999]"),
        ({"optimizer.lr": float("inf")}, "optimizer.lr=inf: is no finite", "optimizer.lr="),
        (
            {"workload.global_batch_size": 99999999999999999999},
            "must be at most 2147483647",
            "type workload.global_batch_size=",
        ),
        ({"zero.reduce_bucket_size": 2**63}, "must be at most 9223372036854775807", "type zero."),
    ],
)
def test_settings_that_do_not_go_together_are_named_with_what_does(changes, said, typed):
    with pytest.raises(UsageError) as error:
        check_together(nano(**changes))
    assert said in str(error.value)
    assert typed in str(error.value)


def test_settings_at_their_limits_are_taken():
    check_together(nano(**{"measure.min_steps": 5, "measure.max_steps": 5}))
    check_together(nano(**{"optimizer.betas": [0.0, 0.999], "zero.reduce_bucket_size": 10**10}))


@pytest.mark.parametrize(
    ("raw", "said", "typed"),
    [
        ({"train_batch_size": 7}, "with which it is 8", "workload.global_batch_size=7"),
        ({"train_micro_batch_size_per_gpu": 2}, "contradicts batch.micro_size", "micro_size=2"),
        ({"gradient_accumulation_steps": 3}, "with which it is 8", "batch.micro_size=2"),
        ({"zero_optimization": 3}, "where an object is wanted", "type zero=stage1"),
        ({"zero_optimization": True}, "would take the place of all", "type zero=stage1"),
        ({"zero_optimization": {"nonsense": 3}}, "DeepSpeed has no such key", "leave it out"),
        ({"zero_optimization": {"stag": 3}}, "did you mean zero_optimization.stage?", ""),
        ({"zero_optimization": {"stage": 9}}, "allowed are 0, 1, 2, 3", "zero=stage1"),
        ({"zero_optimization": {"stage": 2}}, "contradicts zero, with which it is 0", "stage2"),
        (
            {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}},
            "contradicts offload, with which it is none",
            "offload=none, or optimizer",
        ),
        (
            {"bf16": {"enabled": True}},
            "contradicts precision, with which it is false",
            "precision=",
        ),
        ({"bfloat16": {"enabled": True}}, "contradicts precision", "precision=fp32, or bf16"),
        ({"fp16": True}, "fp16 is true, where an object is wanted", "precision=fp32"),
        ({"gradient_clipping": 0.5}, "with which it is 1.0", "optimizer.gradient_clipping=0.5"),
        ({"optimizer": {"params": {"lr": 0.1}}}, "ds.optimizer.params.lr=0.1", "optimizer.lr=0.1"),
        ({"optimizer": {"type": "Lion"}}, "with which it is AdamW", "optimizer.type=Lion"),
        ({"sequence_parallel_size": 2}, "contradicts parallel.sequence", "parallel.sequence=2"),
    ],
)
def test_a_raw_key_that_fights_a_setting_is_refused_with_the_setting(raw, said, typed):
    with pytest.raises(UsageError, match=r"^ds\.") as error:
        check_raw_keys(nano(ds=raw))
    assert said in str(error.value)
    assert typed in str(error.value)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"train_batch_size": 8, "gradient_clipping": 1.0},
        {"steps_per_print": 7, "zero_optimization": {"sub_group_size": 1000}},
        {"zero_optimization": {"stage": 0, "stage3_prefetch_bucket_size": 1}},
        {"bf16": {"enabled": False}, "sequence_parallel_size": 1},
        {"my_own": {"key": 1}},
    ],
)
def test_a_raw_key_that_says_nothing_else_is_taken(raw):
    check_raw_keys(nano(ds=raw))


def test_a_detail_is_the_raw_keys_unless_its_setting_says_otherwise():
    raw = {"zero_optimization": {"reduce_bucket_size": 1000}}
    check_raw_keys(nano(ds=raw))
    check_raw_keys(nano(ds=raw, **{"zero.reduce_bucket_size": 1000}))
    with pytest.raises(UsageError, match=r"type zero\.reduce_bucket_size=1000"):
        check_raw_keys(nano(ds=raw, **{"zero.reduce_bucket_size": 5}))
