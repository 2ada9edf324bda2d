"""What is typed after ``script.args=`` and ``script.path=`` reaches the script word for word."""

import random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sweeper.core.script import check_arguments, words
from sweeper.errors import UsageError
from sweeper.hydra_edge.script_text import with_text

VALUES = {"micro_batch": 4, "ds_config": "/a/b.json"}


def composed(argument):
    """As Hydra and OmegaConf read the override that is made of it."""
    (override,) = OverridesParser.create().parse_overrides(with_text([argument]))
    assert not override.is_sweep_override()
    config = OmegaConf.create({"script": {"args": None, "path": None}})
    OmegaConf.update(config, override.key_or_group, override.value())
    name = override.key_or_group.partition(".")[2]
    return OmegaConf.to_container(config, resolve=True)["script"][name]


def given(typed):
    """The script's words."""
    line = composed(f"script.args={typed}") or ""
    check_arguments(line)
    return words(line, VALUES)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--betas 0.9,0.95", ["--betas", "0.9,0.95"]),
        ("--sizes [1,2] --map {a:1,b:2}", ["--sizes", "[1,2]", "--map", "{a:1,b:2}"]),
        ("--out ${HOME}/x", ["--out", "${HOME}/x"]),
        ('"--out ${HOME}/x --n 1"', ["--out", "${HOME}/x", "--n", "1"]),
        ("--out ${oc.env:NOPE,x}", ["--out", "${oc.env:NOPE,x}"]),
        ('"--config=ds.json" --batch 4', ["--config=ds.json", "--batch", "4"]),
        ("'--name' 'two words'", ["--name", "two words"]),
        (r'"--name \"two words\""', ["--name", "two words"]),
        ("--pick choice(1,2) --to range(3)", ["--pick", "choice(1,2)", "--to", "range(3)"]),
        ("--batch {micro_batch} --ds={ds_config}", ["--batch", "4", "--ds=/a/b.json"]),
        ("--a=b=c ~x @y #z", ["--a=b=c", "~x", "@y", "#z"]),
        ("null", []),
        ("", []),
    ],
)
def test_commas_brackets_quotes_and_dollars_are_text(typed, expected):
    assert expected == given(typed)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (
            '[--betas,"0.9,0.95",--deepspeed,ds.json]',
            ["--betas", "0.9,0.95", "--deepspeed", "ds.json"],
        ),
        ("[--lr, 1e-4, --on, true]", ["--lr", "1e-4", "--on", "true"]),
        ("[--name,two words,--q,'it is']", ["--name", "two words", "--q", "it is"]),
        ("[--batch,{micro_batch},--sizes,[1,2]]", ["--batch", "4", "--sizes", "[1,2]"]),
        ("[--out,${HOME}/x,a\\,b]", ["--out", "${HOME}/x", "a,b"]),
        ("[--empty,'']", ["--empty", ""]),
        ("[a,b,]", ["a", "b"]),
        ("[]", []),
        ("[1,2] [3,4]", ["[1,2]", "[3,4]"]),  # no list
    ],
)
def test_a_list_has_a_word_in_each_element(typed, expected):
    assert expected == given(typed)


def test_an_element_that_is_missing_is_an_error_of_the_list():
    with pytest.raises(UsageError, match="an element of the list is empty"):
        with_text(["script.args=[a,,b]"])


def test_any_text_arrives_as_it_was_typed_also_from_a_study_that_is_gone_on_with():
    letters = random.Random(1)
    for _ in range(300):
        text = "".join(letters.choice("ab '\"\\${},[]()=:~|#\n") for _ in range(8))
        typed = f"script.path=-{text}-"
        (once,) = with_text([typed])
        assert [once] == with_text([once])
        if "\\${" not in text:  # which is ${ with its backslash typed
            assert f"-{text}-" == composed(typed)


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_plus_in_front_changes_nothing(prefix):
    assert ["script.args='a,b'"] == with_text([f"{prefix}script.args=a,b"])


@pytest.mark.parametrize("name", ["script.args", "script.path"])
@pytest.mark.parametrize("expression", ["choice(a,b)", "glob(*.py)", "shuffle(a,b)"])
def test_what_can_only_be_a_search_is_refused_with_how_to_type_it_as_text(name, expression):
    with pytest.raises(UsageError, match="runs the same script") as error:
        with_text([f"{name}={expression}"])
    assert f"'{name}=\"{expression}\"'" in str(error.value)
    assert expression == composed(f'{name}="{expression}"')


def test_other_arguments_are_left_as_they_are():
    typed = ["batch.micro_size=choice(1,2)", "zero=stage1,stage2", "-m", "script.ds_config=x"]
    assert typed == with_text(typed)
