"""What a script's own run says in the words of the options, and how its arguments are filled in."""

import pytest

pytest.importorskip("deepspeed")

from sweeper.core.script import check_arguments, words
from sweeper.core.script_work import StepWork, followed_by, grows
from sweeper.errors import UsageError
from sweeper.hydra_edge.script_knobs import (
    accumulation_steps,
    baseline_overrides,
    closed_at_once,
    notes_on,
    other_micro_size,
    other_precision,
    why_not_followed,
)
from sweeper.hydra_edge.script_losses import explained, first_loss_differs
from sweeper.worker.ds_resolved import resolve

MICRO, STEPS, RANKS, LENGTH = 2, 4, 2, 64


def work(*, steps=4, **seen):
    """Of a script that trains 2 x 4 samples of 64 tokens on each of two ranks; 0 is not seen."""
    samples = MICRO * STEPS * RANKS
    values = {
        "drawn": samples,
        "rows": samples,
        "elements": samples * LENGTH,
        "tokens": samples * LENGTH,
        "passes": STEPS,
        "longest": LENGTH,
        **seen,
    }
    return [StepWork(**values).to_json()] * steps


UNSEEN = {"drawn": None, "rows": None, "elements": None, "tokens": None}
FACTS = {
    "config": {},
    "resolved": resolve({"zero_optimization": {"stage": 2}}).to_json(),
    "micro_size": MICRO,
    "accumulation_steps": STEPS,
    "data_parallel": RANKS,
    "work": work(),
    "dtypes": ["float32"],
    "autocasts": False,
    "recomputes": False,
    "can_switch_recomputation": False,
    "has_dropout": False,
    "has_batch_statistics": False,
    "has_losses": True,
    "sets_boundary": True,
    "losses": [4.0, 3.9],
    "switched_off": [],
    "number": 1,
    "num_engines": 1,
    "trained": [{"number": 1, "parameters": 100}],
}
SPACE = [
    "zero",
    "offload",
    "precision",
    "batch.micro_size",
    "checkpointing",
    "parallel",
    "script.path",
]


def facts(config=None, **changes):
    found = {**FACTS, **changes}
    if config is not None:
        found |= {"config": config, "resolved": resolve(config).to_json()}
    return found


def overrides(found, **how):
    return baseline_overrides(found, ranks=RANKS, name="train.py", **how)


def test_the_global_batch_is_the_scripts_own_over_all_ranks():
    assert {
        "workload.global_batch_size=16",
        "workload.sequence_length=64",
        "batch.micro_size=2",
        "script.samples=drawn",
        "script.units_per_sample=1.0",
    } <= set(overrides(FACTS))


@pytest.mark.parametrize(
    "seen",
    [
        {"rows": 32},
        {"rows": 8, "elements": 8 * 128},
        {"drawn": None, "rows": 32},
        {"drawn": None, "rows": 1024},
    ],
    ids=["doubled rows", "packed rows", "doubled rows, nothing drawn", "time first"],
)
def test_a_micro_batch_is_what_the_configuration_says_whatever_is_fed(seen):
    found = overrides(facts(work=work(**seen)))
    assert {"batch.micro_size=2", "workload.global_batch_size=16"} <= set(found)


def test_samples_are_counted_by_the_most_direct_of_what_is_seen():
    assert "script.samples=rows" in overrides(facts(work=work(drawn=None)))
    by_elements = overrides(facts(work=work(drawn=None, rows=None)))
    assert {"script.samples=elements", "script.units_per_sample=64.0"} <= set(by_elements)
    assert not [o for o in overrides(facts(work=work(**UNSEEN))) if o.startswith("script.samples")]
    typed = overrides(FACTS, samples="rows")
    assert "script.samples=rows" in typed


OWN_LOOP = {"accumulation_steps": 1, "work": work(passes=4)}


def test_a_loop_that_accumulates_beside_the_engine_is_part_of_the_batch():
    found = overrides(facts(**OWN_LOOP))
    assert {
        "workload.global_batch_size=16",
        "batch.micro_size=2",
        "script.engine_accumulation=1",
    } <= set(found)


@pytest.mark.parametrize(("stage", "stages"), [(0, "0,3"), (3, "0,3"), (1, "1,2"), (2, "1,2")])
def test_a_loop_that_does_not_say_where_it_ends_stays_at_stages_that_sum_as_its_own(stage, stages):
    config = {"zero_optimization": {"stage": stage}}
    found = facts(config, **OWN_LOOP, sets_boundary=False)
    assert f"script.sums_gradients_at='{stages}'" in overrides(found)
    drops = [n for n in notes_on(found, "train.py") if "in its own training too" in n]
    assert (stages == "1,2") == bool(drops)


def test_two_backward_passes_of_one_batch_are_no_accumulation():
    twice = facts(accumulation_steps=4, work=work(passes=8))
    assert 4 == accumulation_steps(twice)
    assert 8 == accumulation_steps(facts(work=work(passes=8, drawn=None)))


def test_details_of_the_configuration_are_settings_of_the_baseline():
    config = {
        "zero_optimization": {
            "stage": 3,
            "reduce_bucket_size": 5e7,
            "overlap_comm": True,
            "offload_optimizer": {"device": "cpu", "ratio": 0.3},
        }
    }
    assert {
        "zero.reduce_bucket_size=50000000",
        "zero.overlap_comm=true",
        "offload.optimizer_ratio=0.3",
        "offload=optimizer",
    } <= set(overrides(facts(config)))
    too_small = {"zero_optimization": {"stage": 2, "allgather_bucket_size": 0}}
    assert not any("allgather" in override for override in overrides(facts(too_small)))


def test_the_baseline_says_stage_offload_precision_and_checkpointing():
    config = {
        "zero_optimization": {
            "stage": 3,
            "offload_optimizer": {"device": "nvme", "nvme_path": "/fast"},
        },
        "fp16": {"enabled": True},
    }
    assert {
        "zero=stage3",
        "offload=nvme_optimizer",
        "offload.nvme_path=/fast",
        "precision=fp16",
        "checkpointing=full",
    } <= set(overrides(facts(config, recomputes=True)))


@pytest.mark.parametrize(
    ("zero", "said"),
    [
        ({"stage": 2, "cpu_offload": True}, ["zero=stage2", "offload=optimizer"]),
        (
            {"stage": 3, "cpu_offload": True, "cpu_offload_param": True},
            ["zero=stage3", "offload=optimizer_and_params"],
        ),
        (
            {"stage": 2, "offload_optimizer": {"device": "nvme", "nvme_path": "/x"}},
            ["offload=optimizer"],
        ),
        ({"stage": 2, "offload_param": {"device": "cpu"}}, ["offload=none"]),
        (True, ["zero=stage1", "offload=none"]),
    ],
    ids=[
        "old names",
        "old names of both",
        "NVMe below stage 3",
        "parameters below stage 3",
        "true",
    ],
)
def test_offload_is_what_deepspeed_makes_of_it(zero, said):
    assert set(said) <= set(overrides(facts({"zero_optimization": zero})))


def test_of_several_engines_the_one_that_trains_is_named():
    assert not any(o.startswith("script.engine=") for o in overrides(FACTS))
    assert "script.engine=2" in overrides(facts(number=2, num_engines=2))


def test_sequences_that_grow_are_timed_over_the_same_steps():
    growing = [work(longest=64 + 32 * n)[0] for n in range(4)]
    found = facts(work=growing)
    assert {"script.steps_grow=true", "measure.interval=0"} <= set(overrides(found))
    assert any("grow (64 to 160 tokens" in note for note in notes_on(found, "train.py"))
    assert not grows([StepWork(**step) for step in work()])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"work": work(rows=32)},
            "4 rows for a micro-batch of 2: samples are counted by what its data",
        ),
        ({"work": work(drawn=None, rows=32)}, "counted by 2 rows a sample"),
        ({"work": work(tokens=None)}, "tokens/s stands for samples/s"),
        ({"has_dropout": True}, "compared within 10%"),
        ({"has_losses": False}, "losses cannot be compared"),
        ({"switched_off": ["wandb"]}, "wandb: off in trials"),
        (OWN_LOOP, "puts 4 micro-batches together"),
        ({"number": 2, "num_engines": 2}, "number 2 is tuned, the one that trains"),
        (
            {"num_engines": 2, "trained": [{"number": n, "parameters": 9 - n} for n in (1, 2)]},
            "type script.engine=2 to tune another",
        ),
        (
            {"config": {"offload_optimizer": {}}},
            "does not read offload_optimizer here; it belongs into zero",
        ),
        ({"config": {"gradient_cliping": 1}}, "did you mean gradient_clipping?"),
        ({"config": {"aio": {"blok_size": 1}}}, "aio.blok_size; did you mean aio.block_size?"),
        ({"config": {"data_efficiency": {"enabled": True}}}, "has a curriculum"),
    ],
)
def test_what_a_reader_of_the_numbers_has_to_know_is_a_note(changes, words):
    (note,) = notes_on(facts(**changes), "train.py")
    assert words in note


def test_a_script_as_its_configuration_says_needs_no_note():
    assert [] == notes_on(FACTS, "train.py")


def test_dropout_loosens_the_comparison_of_losses():
    assert not any("tolerance" in o for o in overrides(FACTS))
    assert "measure.loss_tolerance_fp32=0.1" in overrides(facts(has_dropout=True))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (facts(data_parallel=1), "spreads its model over the ranks itself"),
        (
            facts({"torch_autocast": {"enabled": True, "dtype": "fp16"}}),
            "a precision that is not tuned",
        ),
    ],
)
def test_a_script_that_settings_cannot_describe_is_refused(found, words):
    with pytest.raises(UsageError, match=words):
        overrides(found)


def test_what_the_script_decides_is_left_out_with_a_reason():
    closed = closed_at_once(FACTS, SPACE, "train.py")
    assert {"checkpointing", "parallel", "script.path"} == set(closed)
    assert "cannot be told from outside" in closed["checkpointing"]


def test_a_micro_batch_that_nobody_can_see_is_left_out_with_a_way_to_open_it():
    unseen = facts(work=work(**UNSEEN))
    why = closed_at_once(unseen, SPACE, "train.py")["batch.micro_size"]
    assert "type script.samples=as_configured" in why
    assert "batch.micro_size" not in closed_at_once(
        unseen, SPACE, "train.py", samples="as_configured"
    )


def test_accumulation_of_the_scripts_own_is_opened_by_both_placeholders():
    why = closed_at_once(facts(**OWN_LOOP), SPACE, "train.py")["batch.micro_size"]
    assert "{micro_batch} and {gradient_accumulation}" in why
    filled = {"micro_batch", "gradient_accumulation"}
    assert "batch.micro_size" not in closed_at_once(
        facts(**OWN_LOOP), SPACE, "train.py", filled_in=filled
    )


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
    ("micro_size", "steps", "other"),
    [(2, 4, 4), (4, 1, 2), (3, 1, 1), (1, 1, None), (3, 3, 1)],
)
def test_the_other_micro_batch_size_that_is_tried_divides_a_ranks_samples(micro_size, steps, other):
    found = facts(micro_size=micro_size, accumulation_steps=steps, work=work(passes=steps))
    assert other == other_micro_size(found)


def test_the_other_precision_is_one_of_the_space():
    assert "bf16" == other_precision("fp32", ["fp32", "bf16", "autocast_bf16"])
    assert other_precision("fp32", ["fp32", "autocast_bf16"]) is None


# What a step of twice the micro-batch shows, in half as many passes
FOLLOWED = {
    "as drawn": ({}, {"passes": 2}),
    "packed rows": ({"rows": 8}, {"rows": 4, "passes": 2}),
    "rows, nothing drawn": ({"drawn": None}, {"drawn": None, "passes": 2}),
    "time first, nothing drawn": (
        {"drawn": None, "rows": 256},
        {"drawn": None, "rows": 128, "passes": 2},
    ),
    "padding, nothing drawn": (
        {"drawn": None, "rows": None, "elements": 1000},
        {"drawn": None, "rows": None, "elements": 1100, "passes": 2},
    ),
}
NOT_FOLLOWED = {
    "as much in a pass": ({}, {"drawn": 8, "rows": 8, "elements": 8 * LENGTH, "passes": 2}),
    "as much in a pass, nothing drawn": (
        {"drawn": None},
        {"drawn": None, "rows": 8, "elements": 8 * LENGTH, "passes": 2},
    ),
    "a mask of the candidate's size": (
        {"drawn": None},
        {"drawn": None, "rows": 16, "elements": 8 * LENGTH, "passes": 2},
    ),
    "batches of as many tokens": ({"drawn": 17}, {"drawn": 9, "rows": 9, "passes": 2}),
    "nothing is seen": (UNSEEN, {**UNSEEN, "passes": 2}),
}


@pytest.mark.parametrize(
    ("before", "after", "follows"),
    [
        *((*case, True) for case in FOLLOWED.values()),
        *((*case, False) for case in NOT_FOLLOWED.values()),
    ],
    ids=[*FOLLOWED, *NOT_FOLLOWED],
)
def test_a_micro_batch_is_followed_where_a_step_trains_as_much(before, after, follows):
    own, other = facts(work=work(**before)), facts(work=work(**after), micro_size=4)
    why = why_not_followed("batch.micro_size=4", other, own)
    assert follows == (why == "")
    steps = [[StepWork(**s) for s in found["work"]] for found in (own, other)]
    assert follows == (followed_by(*steps) is not None)
    assert "" == why_not_followed("batch.micro_size=4", other, own, "as_configured")


def test_a_precision_is_followed_where_the_model_is_in_it():
    assert "stays in float32" in why_not_followed("precision=bf16", FACTS, FACTS)
    assert "" == why_not_followed("precision=fp32", FACTS, FACTS)


def test_losses_that_another_seed_changes_as_much_are_noise():
    other = facts(losses=[4.04])
    assert pytest.approx(0.01) == first_loss_differs(FACTS, other)
    found = explained(0.01, 0.02, FACTS, other)
    assert "random numbers are drawn for each micro-batch" in found.why
    assert pytest.approx(0.06) == found.tolerance


@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        ({"has_batch_statistics": True}, {}, "BatchNorm"),
        ({}, {"work": work(tokens=1200)}, "mean over the tokens"),
        ({"work": work(unequal=True)}, {}, "mean over the tokens"),
        ({}, {}, "negatives within the batch"),
    ],
)
def test_losses_that_no_seed_explains_have_a_probable_cause(own, other, words):
    found = explained(0.05, 0.0, facts(**own), facts(**other))
    assert words in found.why
    assert found.tolerance is None


def test_arguments_are_split_as_a_shell_does_and_filled_in():
    typed = "--name 'two words' --batch={micro_batch} --config {ds_config}"
    values = {"micro_batch": 4, "ds_config": "/a folder/ds.json"}
    assert ["--name", "two words", "--batch=4", "--config", "/a folder/ds.json"] == words(
        typed, values
    )


def test_an_unknown_placeholder_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"there is no \{batch\}; allowed are \{micro_batch\}"):
        check_arguments("--batch {batch}")
