import pytest

pytest.importorskip("deepspeed")

from deepspeed.runtime.config import DeepSpeedConfig

from sweeper.core.ds_config import TOP_LEVEL_KEYS
from sweeper.core.ds_config_mistakes import (
    NULL_IS_LEFT_OUT,
    OBJECTS,
    mistakes,
    mistakes_before_all,
)
from sweeper.core.fitting_batch import fitting_batch

FINE = {"train_batch_size": 8, "zero_optimization": {"stage": 1}}


@pytest.mark.parametrize(
    "config",
    [
        FINE,
        {**FINE, "zero_optimization": True, "aio": None, "bf16": None},
        {**FINE, "zero_optimization": {"stage": "2"}},
        {**FINE, "train_micro_batch_size_per_gpu": 4.0, "optimizer": {}},
    ],
)
def test_what_deepspeed_takes_is_no_mistake(config):
    assert [] == mistakes(config)
    assert [] == mistakes_before_all(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([1], "it is [1], where an object is wanted"),
        (None, "it is null"),
        ({**FINE, "optimizer": None}, "optimizer is null, where an object is wanted; leave it out"),
        ({**FINE, "bf16": True}, "type precision=fp32"),
        ({**FINE, "zero_optimization": 3}, "type zero=stage1"),
        ({**FINE, "zero_optimization": {"stage": 7}}, "stage is 7; allowed are 0, 1, 2, 3"),
        ({**FINE, "zero_optimization": {"stage": 2, "offload_optimizer": "cpu"}}, "offload=none"),
        (
            {**FINE, "zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}},
            "offload.nvme_path=<folder>",
        ),
        ({**FINE, "optimizer": {"params": {}}}, "optimizer.type is null"),
        ({**FINE, "optimizer": {"type": "Adam", "params": [1]}}, "optimizer.params is [1]"),
        ({**FINE, "bf16": {"enabled": True}, "fp16": {"enabled": True}}, "fp16 and bf16 are both"),
        ({"train_batch_size": "8"}, 'train_batch_size is "8", and has to be a whole number'),
        ({"train_batch_size": True}, "train_batch_size is true"),
        ({"train_batch_size": 2.5}, "train_batch_size is 2.5"),
        ({"train_batch_size": 0}, "train_batch_size is 0"),
        ({"train_batch_size": "auto"}, "only a Trainer and Accelerate fill in"),
        ({"gradient_accumulation_steps": 4}, "neither train_batch_size nor"),
        ({**FINE, "aio": {1, 2}}, "aio is of type set"),
    ],
)
def test_a_mistake_says_what_was_given_and_what_to_write_or_type(config, words):
    (told,) = mistakes(config)
    assert words in told


def test_what_a_short_run_would_not_stop_at_is_told_before_it():
    wrong = {
        "flops_profiler": True,
        "train_batch_size": 4,
        "sequence_parallel_size": 2,
        "gradient_clipping": "x",
    }
    told = mistakes_before_all(wrong)
    assert ["flops_profiler", "sequence_parallel_size", "gradient_clipping"] == [
        mistake.split()[0] for mistake in told
    ]


@pytest.mark.parametrize(
    ("given", "typed"),
    [
        ((7, 2, 1), (7, 1)),
        ((7, 2, 2), (8, 2)),
        ((16, 2, 2), (16, 2)),
        ((8, 3, 1), (8, 2)),
        ((1, 1, 4), (4, 1)),
        ((0, 0, 2), (2, 1)),
    ],
)
def test_the_batch_to_type_divides_over_the_ranks(given, typed):
    train, micro, ranks = given
    assert typed == fitting_batch(train, max(micro, 1), ranks)
    assert 0 == typed[0] % (typed[1] * ranks)


def is_taken(config):
    try:
        DeepSpeedConfig(dict(config))
    except Exception:
        return False
    return True


@pytest.mark.parametrize("name", sorted(TOP_LEVEL_KEYS))
def test_deepspeed_stops_at_the_same_sections(name):
    is_section = is_taken({"train_batch_size": 1, name: {}}) and not is_taken(
        {"train_batch_size": 1, name: 3}
    )
    assert is_section == (name in OBJECTS)
    if is_section:
        takes_null = is_taken({"train_batch_size": 1, name: None})
        assert takes_null == (name in NULL_IS_LEFT_OUT)
