"""What a script's own run says in the words of the options, and how its arguments are filled in."""

import pytest

from sweeper.core.script import check_arguments, words
from sweeper.errors import UsageError
from sweeper.hydra_edge.script_knobs import (
    baseline_overrides,
    closed_at_once,
    notes_on,
    other_micro_size,
    other_precision,
    why_not_followed,
)

FACTS = {
    "config": {"zero_optimization": {"stage": 2}},
    "micro_size": 2,
    "accumulation_steps": 4,
    "data_parallel": 2,
    "fed_micro_size": 2,
    "tokens": 64,
    "dtypes": ["float32"],
    "autocasts": False,
    "recomputes": None,
    "has_dropout": False,
    "has_losses": True,
}
SPACE = ["zero", "offload", "precision", "batch.micro_size", "checkpointing", "parallel"]


def facts(**changes):
    return {**FACTS, **changes}


def test_the_global_batch_is_the_scripts_own_over_all_ranks():
    overrides = baseline_overrides(FACTS, ranks=2, name="train.py")
    assert "workload.global_batch_size=16" in overrides
    assert "workload.sequence_length=64" in overrides


def test_what_the_script_feeds_counts_more_than_what_its_configuration_says():
    overrides = baseline_overrides(facts(fed_micro_size=3), ranks=2, name="train.py")
    assert {"batch.micro_size=3", "workload.global_batch_size=24"} <= set(overrides)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fed_micro_size": 3}, "feeds 3 samples in a micro-batch, where its configuration says 2"),
        ({"tokens": 1}, "tokens/s stands for samples/s"),
        ({"has_dropout": True}, "compared within 10%"),
        ({"has_losses": False}, "losses cannot be compared"),
    ],
)
def test_what_a_reader_of_the_numbers_has_to_know_is_a_note(changes, words):
    (note,) = notes_on(facts(**changes), "train.py")
    assert words in note


def test_a_script_as_its_configuration_says_needs_no_note():
    assert [] == notes_on(FACTS, "train.py")
    assert [] == notes_on(facts(fed_micro_size=0), "train.py"), "not seen"


def test_the_baseline_says_stage_offload_precision_and_checkpointing():
    config = {
        "zero_optimization": {
            "stage": 3,
            "offload_optimizer": {"device": "nvme", "nvme_path": "/fast"},
        },
        "fp16": {"enabled": True},
    }
    overrides = baseline_overrides(facts(config=config, recomputes=True), ranks=2, name="train.py")
    assert {
        "zero=stage3",
        "offload=nvme_optimizer",
        "offload.nvme_path=/fast",
        "precision=fp16",
        "checkpointing=full",
    } <= set(overrides)


def test_dropout_loosens_the_comparison_of_losses():
    assert not any("tolerance" in o for o in baseline_overrides(FACTS, ranks=2, name="train.py"))
    loosened = baseline_overrides(facts(has_dropout=True), ranks=2, name="train.py")
    assert "measure.loss_tolerance_fp32=0.1" in loosened


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_parallel": 1}, "spreads its model over the ranks itself"),
        ({"config": {"amp": {"enabled": True}}}, "a precision that is not tuned"),
    ],
)
def test_a_script_that_settings_cannot_describe_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        baseline_overrides(facts(**changes), ranks=2, name="train.py")


def test_what_the_script_decides_is_left_out_with_a_reason():
    closed = closed_at_once(FACTS, SPACE, "train.py")
    assert {"checkpointing", "parallel"} == set(closed)
    assert "cannot be told from outside" in closed["checkpointing"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"autocasts": True}, "torch.autocast"),
        ({"dtypes": ["bfloat16"]}, "makes its model in bfloat16"),
    ],
)
def test_a_precision_that_the_script_hard_codes_is_left_out(changes, words):
    assert words in closed_at_once(facts(**changes), SPACE, "train.py")["precision"]


@pytest.mark.parametrize(
    ("micro_size", "accumulation_steps", "other"),
    [(2, 4, 4), (4, 1, 2), (3, 1, 1), (1, 1, None), (3, 3, 1)],
)
def test_the_other_micro_batch_size_that_is_tried_divides_a_ranks_samples(
    micro_size, accumulation_steps, other
):
    found = facts(fed_micro_size=micro_size, accumulation_steps=accumulation_steps)
    assert other == other_micro_size(found)


def test_the_other_precision_is_one_of_the_space():
    assert "bf16" == other_precision("fp32", ["fp32", "bf16", "autocast_bf16"])
    assert other_precision("fp32", ["fp32", "autocast_bf16"]) is None


def test_a_knob_is_followed_where_what_is_seen_is_what_was_asked_for():
    assert "feeds 2 samples" in why_not_followed("batch.micro_size=4", FACTS)
    assert "stays in float32" in why_not_followed("precision=bf16", FACTS)
    assert why_not_followed("batch.micro_size=2", FACTS) == ""
    assert why_not_followed("batch.micro_size=4", facts(fed_micro_size=0)) == ""


def test_arguments_are_split_as_a_shell_does_and_filled_in():
    typed = "--name 'two words' --batch={micro_batch} --config {ds_config}"
    values = {"micro_batch": 4, "ds_config": "/a folder/ds.json"}
    assert ["--name", "two words", "--batch=4", "--config", "/a folder/ds.json"] == words(
        typed, values
    )


def test_an_unknown_placeholder_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"there is no \{batch\}; allowed are \{micro_batch\}"):
        check_arguments("--batch {batch}")
