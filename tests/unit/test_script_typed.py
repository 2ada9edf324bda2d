"""``+script=train.py`` on the command line."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from sweeper.cli import with_script
from sweeper.errors import UsageError


def test_a_script_stands_in_the_place_of_a_model_and_runs_where_it_was_typed(tmp_path, monkeypatch):
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    (folder / "train.py").write_text("import deepspeed\n")
    monkeypatch.chdir(folder)
    typed = with_script(["+script=train.py", "hydra/sweeper=optuna"])
    parsed = OverridesParser.create().parse_overrides(typed)
    values = {override.key_or_group: override.value() for override in parsed}
    assert {
        "model": "script",
        "script.path": str(folder / "train.py"),
        "script.folder": str(folder),
        "hydra/sweeper": "optuna",
    } == {name: str(value) for name, value in values.items()}


def test_without_a_script_nothing_is_changed():
    assert ["+model=gpt2", "zero=stage2"] == with_script(["+model=gpt2", "zero=stage2"])


def test_a_script_that_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"\+script=nowhere.py: there is no such file"):
        with_script(["+script=nowhere.py", "hydra/sweeper=optuna"])


def test_a_folder_in_the_place_of_a_script_is_called_one(tmp_path):
    with pytest.raises(UsageError, match="is a folder; type"):
        with_script([f"+script={tmp_path}", "hydra/sweeper=optuna"])
