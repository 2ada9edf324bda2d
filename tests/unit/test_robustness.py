import pytest

from sweeper.core.outcome import Infeasible, OutOfMemory, Stopped
from sweeper.core.robustness import (
    LongestSequence,
    in_words,
    longest_sequence,
    one_step_away,
    robustness,
    steps_of,
)
from sweeper.core.space import Choice, FloatRange, IntRange, SearchSpace
from tests.support import measured, trial_of

GIB = 2**30
STEPS = {"batch.micro_size": ("1", "2", "4", "8"), "zero": ("stage0", "stage1", "stage2")}
OOM = OutOfMemory(memory="device", phase="measure", reason="too large")
WINNER = trial_of(7, measured(1000), point={"batch.micro_size": "4", "zero": "stage1"})


def at(number, outcome, **point):
    names = {"micro": "batch.micro_size", "zero": "zero", "bucket": "zero.reduce_bucket_size"}
    return trial_of(number, outcome, point={names[k]: v for k, v in point.items()})


def around(*trials, **more):
    given = {"steps": STEPS, "peak_bytes": 3 * GIB, "limit_bytes": 4 * GIB, **more}
    return robustness(WINNER, [*trials, WINNER], **given)


def test_a_neighbour_is_the_next_number_or_any_other_word():
    near = list(one_step_away(WINNER.point, STEPS))
    assert [
        ("batch.micro_size", "2"),
        ("batch.micro_size", "8"),
        ("zero", "stage0"),
        ("zero", "stage2"),
    ] == near


def test_the_next_number_is_the_next_by_size_not_by_place():
    near = one_step_away({"a": "8"}, {"a": ["16", "4", "2", "8"]})
    assert {("a", "4"), ("a", "16")} == set(near)


def test_what_is_left_to_deepspeed_is_one_step_from_every_number():
    steps = {"a": ["null", "1", "2", "3"]}
    assert [("a", "1"), ("a", "2"), ("a", "3")] == list(one_step_away({"a": "null"}, steps))
    assert [("a", "null"), ("a", "2")] == list(one_step_away({"a": "1"}, steps))


def test_neighbours_have_their_throughput_or_their_failure():
    found = around(
        at(1, measured(900), micro="2", zero="stage1"),
        at(2, OOM, micro="8", zero="stage1"),
        at(3, measured(990), micro="2", zero="stage2"),  # two steps away
        at(4, measured(10), micro="1", zero="stage1"),  # two steps of one knob
    )
    assert [(1, pytest.approx(0.9), None), (2, None, "out-of-memory")] == [
        (n.trial, n.times_the_winner, n.failure) for n in found.neighbours
    ]
    assert 2 == found.not_measured


def test_a_neighbour_that_was_stopped_counts_with_what_its_first_steps_showed():
    stopped = Stopped(measurement=measured(500).measurement, reason="clearly beaten")
    (found,) = around(at(1, stopped, micro="2", zero="stage1")).neighbours
    assert (pytest.approx(0.5), None) == (found.times_the_winner, found.failure)


def test_a_neighbour_that_trains_differently_is_not_told_as_a_faster_one():
    first = trial_of(0, measured(100))
    other = at(1, measured(9000, losses=(6.2, 5.0, 4.0, 3.0)), micro="2", zero="stage1")
    (found,) = around(first, other).neighbours
    assert (None, "trains differently") == (found.times_the_winner, found.failure)


def test_a_neighbour_that_the_plan_forbids_is_none():
    refused = Infeasible(rule="a-rule", reason="not here")
    found = around(at(1, refused, micro="8", zero="stage1"))
    assert ((), 3, 1) == (found.neighbours, found.not_measured, found.not_allowed)


def test_a_neighbour_that_a_rule_forbids_is_none_that_was_not_tried():
    found = around(is_forbidden=lambda parameter, value: (parameter, value) == ("zero", "stage0"))
    assert (3, 1) == (found.not_measured, found.not_allowed)
    assert (
        "3 were possible and not tried; 1 was not possible beside its other options."
        in in_words(found)
    )


def test_options_that_act_beside_the_other_value_alone_do_not_make_it_farther():
    found = around(
        at(1, measured(700), micro="4", zero="stage2", bucket="1"),
        at(2, measured(800), micro="4", zero="stage2", bucket="2"),
    )
    assert [2] == [n.trial for n in found.neighbours]


def test_head_room_is_what_the_limit_leaves_and_unknown_without_a_limit():
    assert 0.25 == around().head_room
    assert around(limit_bytes=0).head_room is None


def test_a_space_lists_the_steps_that_can_be_counted():
    space = SearchSpace(
        parameters={
            "a": Choice(values=("x", "y")),
            "b": IntRange(low=1, high=3),
            "c": FloatRange(low=0.0, high=1.0),
        }
    )
    assert {"a": ("x", "y"), "b": ("1", "2", "3")} == steps_of(space)


def test_it_is_said_in_sentences():
    found = around(
        at(1, measured(900), micro="2", zero="stage1"),
        at(2, OOM, micro="8", zero="stage1"),
        longest=LongestSequence(
            tokens=2048, need_bytes=5 * GIB, deviation_bytes=0.1 * GIB, limit_bytes=4 * GIB
        ),
    )
    assert (
        "Of its neighbours, one step away in one option, 1 reached 0.90 times its throughput in the "
        "search; 1 failed (`batch.micro_size=8` out-of-memory); 2 were possible and not tried. "
        "It leaves 25% of its memory limit free. "
        "At its longest sequence of 2,048 tokens it does not fit: predicted are 5.00 GiB (give or "
        "take 205 MiB) of 4.00 GiB."
    ) == in_words(found)


def test_a_winner_without_neighbours_says_so():
    assert "4 were possible and not tried" in in_words(around())
    assert "It has no neighbours" in in_words(around(steps={}))


@pytest.mark.parametrize(
    ("deviation_gib", "need_gib", "said"),
    [
        (0.05, 3.0, "it surely fits: "),
        (0.5, 3.9, "it probably fits: "),
        (0.5, 4.1, "it probably does not fit: "),
        (0.05, 5.0, "it does not fit: "),
    ],
)
def test_the_longest_sequence_is_told_by_how_likely_it_fits(deviation_gib, need_gib, said):
    longest = LongestSequence(
        tokens=2048,
        need_bytes=int(need_gib * GIB),
        deviation_bytes=deviation_gib * GIB,
        limit_bytes=4 * GIB,
    )
    assert said in longest.in_words()


def test_what_is_not_known_of_the_longest_sequence_is_said():
    unknown = LongestSequence(tokens=None, limit_bytes=4 * GIB).in_words()
    assert "is not known" in unknown
    there = LongestSequence(tokens=1024, limit_bytes=4 * GIB).in_words()
    assert "It was measured at its longest sequence, 1,024 tokens." == there
    unlimited = LongestSequence(tokens=1024, need_bytes=GIB, deviation_bytes=1.0, limit_bytes=None)
    assert "what a rank may use is not known" in unlimited.in_words()


def test_a_prediction_from_before_its_doubt_was_kept_says_no_more_than_it_knows():
    old = longest_sequence({"tokens": 128, "need_bytes": GIB, "limit_bytes": 4 * GIB})
    said = old.in_words()
    assert "1.00 GiB of 4.00 GiB are predicted" in said
    assert "fit" not in said
