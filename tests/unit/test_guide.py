import math
import random

import numpy as np
import pytest

from sweeper.core.space import Choice, FloatRange, IntRange, SearchSpace
from sweeper.search.encoding import Encoding, drawn, neighbours
from sweeper.search.guide import Guide, Result
from sweeper.search.surrogate import Surrogate

SPACE = SearchSpace(
    parameters={
        "zero": Choice(values=("stage0", "stage1", "stage2", "stage3")),
        "precision": Choice(values=("fp32", "bf16", "fp16")),
        "checkpointing": Choice(values=("none", "full")),
        "batch.micro_size": Choice(values=("1", "2", "4", "8", "16")),
    }
)


def speed(point):
    """A surface with a cliff: stage 0 runs out of breath at large micro-batches."""
    micro = int(point["batch.micro_size"])
    value = 100 * micro / (micro + 3)
    value *= {"fp32": 1.0, "bf16": 1.7, "fp16": 1.6}[point["precision"]]
    value *= 0.8 if point["checkpointing"] == "full" else 1.0
    value *= {"stage0": 1.1, "stage1": 1.0, "stage2": 0.95, "stage3": 0.7}[point["zero"]]
    if point["zero"] == "stage0" and micro > 4:
        value *= 0.5
    return value


BEST = max(speed(point) for point in SPACE.points())


def searched(seed, trials, *, fails=lambda point: False, likelihood=lambda point: 1.0):
    noise = random.Random(seed)
    guide = Guide(SPACE, seed=seed, acting=lambda p: p, likelihood=likelihood)
    seen = []
    for _ in range(trials):
        point = guide.choose(lambda p: dict(p) in seen)
        if point is None:
            break
        seen.append(dict(point))
        score = None if fails(point) else math.log(speed(point)) + noise.gauss(0, 0.01)
        guide.learn(Result(point=point, score=score, variance=1e-4))
    return guide, seen


def test_it_finds_the_best_of_a_space_in_a_fraction_of_its_points():
    for seed in range(5):
        _, seen = searched(seed, 24)  # of 120
        assert max(map(speed, seen)) >= 0.98 * BEST


def test_no_point_is_chosen_twice_and_all_are_chosen_in_the_end():
    _, seen = searched(1, 12)
    assert len({tuple(p.values()) for p in seen}) == len(seen)


def test_it_says_when_nothing_that_is_left_is_likely_to_be_better():
    guide, seen = searched(1, SPACE.size)
    assert len(seen) < SPACE.size
    assert "likely to be more than 1% better" in guide.why_nothing_is_left
    assert max(map(speed, seen)) >= 0.99 * BEST


def test_it_does_not_end_before_it_has_seen_what_is_one_step_from_the_best():
    for seed in range(3):
        guide, seen = searched(seed, SPACE.size)
        assert "one step from the best" in guide.why_nothing_is_left
        best = max(seen, key=speed)
        beside = [p for p in neighbours(best, SPACE) if dict(p) not in seen]
        assert [] == beside


def test_a_result_that_a_busy_machine_spoiled_does_not_hide_its_neighbours():
    best = max(SPACE.points(), key=speed)
    beside = next(iter(neighbours(best, SPACE)))
    points = [p for p in list(SPACE.points())[::3] if p != best]
    rows = [*points, beside]
    values = [math.log(speed(p)) for p in points] + [math.log(speed(beside) / 15)]
    encoding = Encoding(SPACE)
    surrogate = Surrogate(len(encoding.columns), encoding.distances)
    known = np.array([encoding.row(p) for p in rows])
    surrogate.fit(known, np.array(values), np.full(len(rows), 1e-4))
    (mean,), _ = surrogate.predict(np.array([encoding.row(best)]))
    assert math.exp(mean) > 0.8 * BEST


def test_what_cannot_be_run_is_never_chosen_and_what_may_not_comes_last():
    def likelihood(point):
        return {"fp16": 0.0, "bf16": 0.2}.get(point["precision"], 1.0)

    _, seen = searched(1, 45, likelihood=likelihood)
    assert "fp16" not in {point["precision"] for point in seen}
    first_unlikely = next(i for i, p in enumerate(seen) if p["precision"] == "bf16")
    assert 40 == first_unlikely  # all of fp32


def test_it_stays_away_from_where_trials_failed():
    _, seen = searched(3, 30, fails=lambda point: point["precision"] == "bf16")
    failed = sum(point["precision"] == "bf16" for point in seen)
    assert failed <= 10  # a third, as chance would have it, were it not to learn


def test_evidence_leads_and_is_chosen_again():
    best = max(SPACE.points(), key=speed)
    guide = Guide(SPACE, seed=1, acting=lambda p: p, likelihood=lambda p: 1.0)
    for point in [*list(SPACE.points())[::7], best]:
        guide.learn(
            Result(point=point, score=math.log(speed(point)), variance=0.01, is_evidence=True)
        )
    assert speed(guide.choose(lambda p: False)) >= 0.9 * BEST


def test_a_space_too_large_to_list_is_searched_by_samples_and_neighbours():
    space = SearchSpace(
        parameters={
            "a": IntRange(low=1, high=1000),
            "b": FloatRange(low=1e-4, high=1.0, log=True),
            "c": Choice(values=("x", "y")),
        }
    )

    def value(point):
        return -abs(int(point["a"]) - 700) / 100 - abs(math.log10(float(point["b"])) + 2)

    guide = Guide(space, seed=1, acting=lambda p: p, likelihood=lambda p: 1.0)
    values = []
    for _ in range(40):
        point = guide.choose(lambda p: False)
        values.append(value(point))
        guide.learn(Result(point=point, score=values[-1], variance=1e-4))
    at_random = [value(p) for p in drawn(space, 40, random.Random(1))]
    assert max(values) > max(at_random)


def test_the_surrogate_predicts_what_it_has_seen_and_is_unsure_of_what_it_has_not():
    encoding = Encoding(SPACE)
    points = list(SPACE.points())
    known = points[::3]
    rows = np.array([encoding.row(p) for p in known])
    values = np.array([math.log(speed(p)) for p in known])
    surrogate = Surrogate(len(encoding.columns), encoding.distances)
    surrogate.fit(rows, values, np.full(len(known), 1e-6))
    mean, deviation = surrogate.predict(rows)
    assert values == pytest.approx(mean, abs=0.05)
    others = np.array([encoding.row(p) for p in points[1::3]])
    mean_there, deviation_there = surrogate.predict(others)
    assert deviation_there.mean() > deviation.mean()
    truth = np.array([math.log(speed(p)) for p in points[1::3]])
    assert np.abs(mean_there - truth).mean() < 0.5 * truth.std()


def test_ordered_values_are_steps_apart_and_an_absent_parameter_is_one_step_from_all():
    encoding = Encoding(SPACE)
    one, three, absent = (
        encoding.row({"batch.micro_size": m, "zero": "stage0", "precision": "fp32"})
        if m
        else encoding.row({"zero": "stage3", "precision": "fp32"})
        for m in ("1", "4", "")
    )
    distances = encoding.distances(np.array([one]), np.array([three, absent]))[:, 0, :]
    assert [2.0, 1.0] == distances[3].tolist()  # micro size: two steps; absent
    assert [0.0, 1.0] == distances[0].tolist()  # stages are names: equal or not
    assert [0.0, 0.0] == distances[2].tolist()  # absent in all


def test_neighbours_differ_by_one_step_of_one_parameter():
    point = {
        "zero": "stage1",
        "precision": "fp32",
        "checkpointing": "none",
        "batch.micro_size": "4",
    }
    near = list(neighbours(point, SPACE))
    assert {"2", "8"} == {p["batch.micro_size"] for p in near} - {"4"}
    assert all(sum(p[n] != point[n] for n in point) == 1 for p in near)


def test_a_wide_range_that_is_absent_now_and_then_leaves_the_kernel_positive_definite():
    space = SearchSpace(parameters={"size": IntRange(low=1, high=10**9, log=True)})
    encoding = Encoding(space)
    points = [*drawn(space, 40, random.Random(3)), *({} for _ in range(10))]
    rows = np.array([encoding.row(point) for point in points])
    for decay in (0.01, 0.3, 1.0):
        kernel = np.exp(-decay * encoding.distances(rows, rows)[0])
        assert np.linalg.eigvalsh(kernel).min() > -1e-9
