"""``script.args``: a line as in a shell, with placeholders."""

import pytest

from sweeper.core.script import check_arguments, placeholders, words
from sweeper.errors import UsageError
from tests.support import nano_config

VALUES = {"micro_batch": 4, "ds_config": "/a b/c.json"}


def test_placeholders_are_filled_in_behind_the_shells_words():
    typed = "--batch {micro_batch} --config={ds_config} 'two words'"
    assert ["--batch", "4", "--config=/a b/c.json", "two words"] == words(typed, VALUES)


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("{{micro_batch}}", "{micro_batch}"),
        ("{{epoch}}-{micro_batch}", "{epoch}-4"),
        ("""'{"a": {"b": 1}}'""", '{"a": {"b": 1}}'),
        ("{}", "{}"),
        ("x{1,2}", "x{1,2}"),
        ("${HOME}/x", "${HOME}/x"),
        ("${{HOME}}/x", "${HOME}/x"),
    ],
)
def test_other_braces_are_the_scripts(typed, word):
    check_arguments(typed)
    assert [word] == words(typed, VALUES)


def test_an_escaped_name_is_no_placeholder():
    assert {"ds_config"} == placeholders("{{micro_batch}} {ds_config}")


@pytest.mark.parametrize("name", ["microBatch", "Micro_Batch", "micro-batch", "batch2", "epoch"])
def test_a_placeholder_that_there_is_not_is_refused_whatever_its_case(name):
    with pytest.raises(UsageError, match=rf"there is no {{{name}}}; allowed are {{micro_batch}}"):
        check_arguments(f"--batch {{{name}}}")


@pytest.mark.parametrize("typed", ['--width "12', "--name it's", "--path \\"])
def test_a_line_that_a_shell_would_not_take_is_an_error_of_the_line(typed):
    from sweeper.core.settings import settings_from_mapping

    config = {**nano_config(), "script": {"path": "train.py", "args": typed}}
    with pytest.raises(UsageError, match=r"^script.args=.*does not come apart into words"):
        settings_from_mapping(config)
