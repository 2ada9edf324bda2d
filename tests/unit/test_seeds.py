from sweeper.core.seeds import seeds
from sweeper.core.space import Choice, SearchSpace

SPACE = SearchSpace(
    parameters={
        "zero": Choice(values=("stage0", "stage1", "stage2", "stage3")),
        "offload": Choice(values=("none", "optimizer", "optimizer_and_params")),
        "batch.micro_size": Choice(values=("1", "2", "4", "8")),
    }
)
START = {"zero": "stage0", "offload": "none", "batch.micro_size": "1"}


def asked(fits, count=10, space=SPACE, start=START):
    return [tuple(p.values()) for p in seeds(space, start, likelihood=fits, count=count)]


def test_the_largest_micro_batch_at_the_lowest_stage_that_fits_comes_first():
    def fits(point):
        return float(point["zero"] != "stage0" and int(point["batch.micro_size"]) <= 4)

    assert ("stage1", "none", "4") == asked(fits)[0]


def test_then_one_step_of_the_micro_batch_the_next_stage_and_the_offload_ladder():
    def fits(point):
        legal = point["offload"] == "none" or point["zero"] >= "stage1"
        legal &= point["offload"] != "optimizer_and_params" or point["zero"] == "stage3"
        return float(legal and int(point["batch.micro_size"]) <= 4)

    assert [
        ("stage0", "none", "4"),
        ("stage0", "none", "2"),
        ("stage1", "none", "4"),
        ("stage1", "optimizer", "4"),
        ("stage3", "optimizer_and_params", "4"),
    ] == asked(fits)


def test_a_larger_micro_batch_is_tried_where_it_might_yet_fit():
    def fits(point):
        return {"8": 0.3, "4": 0.9}.get(point["batch.micro_size"], 1.0)

    assert ("stage0", "none", "8") in asked(fits)


def test_there_are_no_more_than_were_asked_for_and_none_twice():
    assert 2 == len(asked(lambda point: 1.0, count=2))
    found = asked(lambda point: 1.0)
    assert len(set(found)) == len(found)


def test_nothing_is_proposed_where_nothing_fits():
    assert [] == asked(lambda point: 0.0)


def test_a_space_without_these_knobs_has_its_start_as_its_only_seed():
    space = SearchSpace(parameters={"ds.x": Choice(values=("1", "2"))})
    assert [("2",)] == asked(lambda point: 1.0, space=space, start={"ds.x": "2"})
