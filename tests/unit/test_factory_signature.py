import pytest

from sweeper.errors import UsageError
from sweeper.factory_signature import check_model_arguments
from tests.support import CONFIG

SHAPE = {k: v for k, v in CONFIG["model"].items() if k not in ("name", "_target_")}
GPT2 = "sweeper.models.gpt2.build"


def test_the_arguments_of_a_model_are_checked_without_importing_it():
    check_model_arguments(GPT2, SHAPE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": "abc"}, "model.width=abc: is not a whole number"),
        ({"width": True}, "is not a whole number"),
        ({"layers": 0}, "model.layers=0: must be at least 1"),
        ({"max_positions": -1}, "model.max_positions=-1: must be at least 1"),
        ({"widht": 3}, "takes no widht; allowed are layers, width"),
    ],
)
def test_a_wrong_argument_is_named(change, said):
    with pytest.raises(UsageError, match=said):
        check_model_arguments(GPT2, {**SHAPE, **change})


def test_what_may_be_off_may_be_zero():
    off = {"config": "gpt2", "lora_rank": 0, "dropout": False}
    check_model_arguments("sweeper.models.hf.build", off)


def test_a_missing_argument_is_named():
    with pytest.raises(UsageError, match=r"model\.layers is missing"):
        check_model_arguments(GPT2, {k: v for k, v in SHAPE.items() if k != "layers"})


@pytest.mark.parametrize("target", ["sweeper.models.gpt9.build", "sweeper.models.gpt2.bild"])
def test_a_factory_of_ours_that_does_not_exist_is_named(target):
    with pytest.raises(UsageError, match="there is no"):
        check_model_arguments(target, SHAPE)


def test_what_cannot_be_read_is_left_to_the_trial():
    check_model_arguments("math.sqrt", {"anything": 1})


@pytest.mark.parametrize("target", ["no_such_package.build", "build"])
def test_a_package_that_is_not_there_is_named_at_once(target):
    with pytest.raises(UsageError, match=r"cannot be imported from .*; type "):
        check_model_arguments(target, {"anything": 1})


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("does_not_parse", b"def build(:\n"),
        ("latin", b"# -*- coding: latin-1 -*-\n# caf\xe9\ndef build(**more): ...\n"),
        ("raises/__init__", b"raise RuntimeError('no GPU here')\n"),
    ],
)
def test_a_module_that_does_not_import_is_left_to_the_trial(tmp_path, monkeypatch, name, source):
    path = tmp_path / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(source)
    monkeypatch.syspath_prepend(tmp_path)
    package = name.partition("/")[0]
    check_model_arguments(f"{package}.build", {"anything": 1})
    check_model_arguments(f"{package}.inner.build", {"anything": 1})
