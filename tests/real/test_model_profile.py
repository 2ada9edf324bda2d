"""Profiles that are traced on fake tensors, against closed forms and against real tensors."""

import json
import random

import pytest

from sweeper.core.memory.share import balanced
from sweeper.run.model_profile import model_profile, profiled
from tests.support import nano

WIDTH, VOCAB, LAYERS, POSITIONS = 64, 512, 2, 128


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SWEEPER_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def profile(cache):
    found = model_profile(nano())
    assert found is not None
    return found


def test_parameters_are_counted(profile):
    block = (12 * WIDTH + 13) * WIDTH
    assert profile.num_blocks == LAYERS
    assert profile.parameters_per_block == block
    assert profile.num_parameters == LAYERS * block + (VOCAB + POSITIONS + 2) * WIDTH
    assert sum(n * count for n, count in profile.parameter_sizes) == profile.num_parameters


def test_a_block_saves_what_its_backward_pass_needs(profile):
    # Two norms' outputs, query, key and value, attention, two sums, and twice the wide layer, each
    # of the width or four times it; statistics of two norms and of attention in each head.
    elements = (1 + 3 + 1 + 1 + 1 + 4 + 4 + 1) * WIDTH
    statistics = 4 + 2
    for mode, size in (("fp32", 4), ("bf16", 2)):
        saved = profile.activation_bytes(mode, "block_saved", 4, 32)
        least = size * elements * 4 * 32
        assert least <= saved <= least + 4 * statistics * 4 * 32 * 1.01


def test_activations_grow_in_proportion_to_the_samples(profile):
    one, two = (profile.activation_bytes("fp32", "block_saved", n, 64) for n in (16, 32))
    assert two == pytest.approx(2 * one)


def test_flash_attention_saves_no_matrix_of_scores(profile):
    for traces in profile.modes.values():
        for trace in traces:
            assert abs(trace.block_saved.per_token_pair) < 0.01


def test_logits_and_loss_are_three_times_the_vocabulary_and_more(profile):
    logits = 4 * VOCAB * 64 * 100
    assert 3.0 <= profile.activation_bytes("fp32", "head", 64, 100) / logits < 4.0


def test_it_is_traced_once_and_read_from_the_cache(profile, cache):
    (file,) = (cache / "profiles").glob("*.json")
    assert json.loads(file.read_text())["num_parameters"] == profile.num_parameters
    assert model_profile(nano()) == profile


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {"kv_heads": 1, "feed_forward_width": 128}),
        ("bert", {}),
        ("moe", {"kv_heads": 1, "feed_forward_width": 64, "experts": 4, "top_k": 2}),
    ],
)
def test_every_family_can_be_traced(cache, family, more):
    shape = {"layers": 3, "width": 64, "heads": 2, "vocab_size": 512, "max_positions": 128}
    found = profiled(f"sweeper.models.{family}.build", {**shape, **more})
    assert found.profile is not None, found.reason
    assert found.profile.num_blocks == 3
    assert found.profile.activation_bytes("bf16", "block_saved", 1, 64) > 0


def test_a_model_that_cannot_be_traced_has_no_profile_and_a_reason(cache):
    found = profiled("collections.OrderedDict", {})
    assert found.profile is None
    assert "cannot be traced" in found.reason


@pytest.mark.real
def test_a_pipeline_is_cut_where_deepspeed_cuts_it():
    from deepspeed.runtime.utils import partition_balanced

    drawing = random.Random(1)
    for _ in range(100):
        weights = tuple(
            drawing.choice((1, 7, 7, 7, 39, 100)) for _ in range(drawing.randint(2, 30))
        )
        stages = drawing.randint(2, 8)
        assert [*balanced(weights, stages)] == [*map(int, partition_balanced([*weights], stages))]
