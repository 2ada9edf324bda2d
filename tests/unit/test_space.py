import pytest

from sweeper.core.space import Choice, FloatRange, IntRange, SearchSpace
from sweeper.errors import UsageError
from sweeper.hydra_edge.expressions import read


class Options:
    """Of the groups: what Hydra's loader is asked for."""

    def get_group_options(self, group, results_filter=None):
        return ["stage0", "stage1", "stage3", "stage3_hpz"] if group == "zero" else []


def domain(expression, name="x"):
    return read([f"{name}={expression}"], {}, Options()).space.parameters[name]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("choice(1,2,4)", Choice(values=("1", "2", "4"))),
        ("1,2,4", Choice(values=("1", "2", "4"))),
        ("choice(stage0,stage1)", Choice(values=("stage0", "stage1"))),
        ("range(1,5)", IntRange(low=1, high=4)),
        ("range(1,10,3)", IntRange(low=1, high=7, step=3)),
        ("range(4,0,-1)", IntRange(low=1, high=4)),
        ("range(8,1,-3)", IntRange(low=2, high=8, step=3)),
        ("sort(range(1,5),reverse=true)", IntRange(low=1, high=4)),
        ("shuffle(range(1,5))", IntRange(low=1, high=4)),
        ("range(1.0,0.0,-0.25)", FloatRange(low=0.25, high=1.0, step=0.25)),
        ("sort(4,2,1,reverse=true)", Choice(values=("4", "2", "1"))),
        ("shuffle(b,a)", Choice(values=("b", "a"))),
        ("range(0,1,0.5)", FloatRange(low=0.0, high=0.5, step=0.5)),
        ("interval(0.1,0.9)", FloatRange(low=0.1, high=0.9)),
        ("int(interval(1,8))", IntRange(low=1, high=8)),
        ("tag(log,interval(0.001,0.1))", FloatRange(low=0.001, high=0.1, log=True)),
    ],
)
def test_hydras_sweep_expressions_become_domains(expression, expected):
    assert expected == domain(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "choice(1,2",
        "choise(1,2)",
        "range(5,1)",
        "range(1,5,-1)",
        "range(1,5,0)",
        "interval(2,1)",
        "tag(log,interval(0,1))",
        "tag(log,int(interval(0,9)))",
        "glob(nix*)",
    ],
)
def test_an_expression_that_does_not_parse_is_named_with_what_was_given(expression):
    with pytest.raises(UsageError, match="x=") as error:
        domain(expression)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("expression", "options"),
    [
        ("glob(stage*)", ("stage0", "stage1", "stage3", "stage3_hpz")),
        ("glob([*],exclude=stage3*)", ("stage0", "stage1")),
        ("glob([stage0,*hpz])", ("stage0", "stage3_hpz")),
    ],
)
def test_a_glob_is_the_options_of_its_group(expression, options):
    assert Choice(values=options) == domain(expression, "zero")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("tag(log,interval(1000000,100000000))", IntRange(low=10**6, high=10**8, log=True)),
        ("interval(1,8)", IntRange(low=1, high=8)),
        ("tag(log, interval(1,64))", IntRange(low=1, high=64, log=True)),
        ("tag(log, int(interval(1,64)))", IntRange(low=1, high=64, log=True)),
        ("interval(0.5,8.5)", IntRange(low=1, high=8)),
        ("range(1.0,9.0,2.0)", IntRange(low=1, high=7, step=2)),
    ],
)
def test_of_a_setting_that_is_a_whole_number_a_range_is_of_whole_numbers(expression, expected):
    assert expected == domain(expression, "zero.reduce_bucket_size")


@pytest.mark.parametrize("expression", ["interval(0.1,0.9)", "range(1,3,0.5)"])
def test_a_range_without_whole_numbers_is_refused_where_those_are_wanted(expression):
    with pytest.raises(UsageError, match="whole number"):
        domain(expression, "batch.micro_size")


def test_a_fraction_stays_one():
    assert FloatRange(low=0.1, high=1.0) == domain("interval(0.1,1)", "offload.optimizer_ratio")


def test_a_setting_with_two_pluses_is_the_setting():
    typed = read(["++zero.stage=choice(1,2)", "++ds.a=choice(1,2)"], {"zero.stage": "choice(0,3)"})
    assert {"zero.stage": Choice(values=("1", "2")), "++ds.a": Choice(values=("1", "2"))} == (
        typed.space.parameters
    )


@pytest.mark.parametrize(
    ("domain", "bounds"),
    [
        (Choice(values=("a", "b", "c")), ("a", "b", "c")),
        (IntRange(low=1, high=9), ("1", "9")),
        (IntRange(low=1, high=1), ("1",)),
        (FloatRange(low=0.0, high=1.0, step=0.25), ("0.0", "1.0")),
        (FloatRange(low=0.1, high=0.9), ("0.1", "0.9")),
    ],
)
def test_every_choice_and_both_ends_of_a_range_are_looked_at_before_a_study(domain, bounds):
    assert bounds == domain.bounds()


def test_a_typed_value_takes_its_parameter_out_of_the_space():
    params = {"zero": "choice(stage0,stage1)", "batch.micro_size": "choice(1,2)"}
    typed = read(["zero=stage2", "+model=gpt2"], params)
    assert ["batch.micro_size"] == list(typed.space.parameters)
    assert ("zero=stage2", "+model=gpt2") == typed.fixed


def test_a_typed_expression_replaces_what_it_contradicts():
    params = {"zero": "choice(stage0,stage1)", "offload": "choice(none,optimizer)"}
    typed = read(["zero.stage=choice(1,2)"], params)
    assert {"offload", "zero.stage"} == set(typed.space.parameters)


def test_an_option_replaces_the_values_that_it_sets_and_no_others():
    params = {"zero.stage": "choice(1,2)", "zero.reduce_bucket_size": "null,5000000"}
    typed = read(["zero=stage3"], params)
    assert {"zero.reduce_bucket_size"} == set(typed.space.parameters)


def test_a_value_that_no_option_sets_goes_with_them():
    typed = read(["zero=choice(stage1,stage2)", "zero.reduce_bucket_size=1000000,5000000"], {})
    assert {"zero", "zero.reduce_bucket_size"} == set(typed.space.parameters)


def test_a_group_is_no_prefix_of_another_groups_name():
    typed = read(["zero=stage1"], {"zeroth": "choice(a,b)"})
    assert {"zeroth"} == set(typed.space.parameters)


def test_a_fixed_value_among_the_params_is_no_parameter():
    typed = read([], {"zero": "stage2"})
    assert ("zero=stage2",) == typed.fixed
    assert not typed.space.parameters


def test_a_model_can_be_an_axis():
    typed = read(["+model=gpt2,gpt2-medium"], {})
    assert Choice(values=("gpt2", "gpt2-medium")) == typed.space.parameters["+model"]


def test_the_points_of_a_finite_space_can_be_counted_and_listed():
    space = SearchSpace(parameters={"a": Choice(values=("x", "y")), "b": IntRange(low=1, high=3)})
    assert 6 == space.size == len(list(space.points()))
    assert SearchSpace(parameters={"c": FloatRange(low=0.0, high=1.0)}).size is None
