"""A mistake of ours is a line and a file; what the user's own code raises is theirs to see."""

import importlib.util
import sys

import pytest

from sweeper import cli
from sweeper.core.folder import StudyFolder


@pytest.fixture
def typed(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["sweeper", "report", "postgresql://me:secret@here/db"])
    monkeypatch.setenv("SWEEPER_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("HYDRA_FULL_ERROR", "SWEEPER_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cli.signal, "signal", lambda *a: None)
    return tmp_path


def of_the_user(tmp_path):
    (tmp_path / "hooks.py").write_text("def more(*_):\n    raise KeyError('theirs')\n")
    spec = importlib.util.spec_from_file_location("hooks", tmp_path / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.more


def test_a_mistake_of_ours_is_one_line_with_a_file_to_send(typed, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_verb", lambda *_: StudyFolder(3).trials)
    monkeypatch.setattr("sweeper.bugs._is_main", lambda name: name == __file__)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert 1 == ended.value.code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sweeper: a mistake of sweeper's own, TypeError: ")
    (kept,) = (typed / "cache" / "errors").iterdir()
    assert f"please report it with {kept}; SWEEPER_FULL_ERROR=1 shows it here" in line
    text = kept.read_text()
    assert "Traceback (most recent call last)" in text
    assert "me:***@here" in text
    assert "secret" not in text


@pytest.mark.parametrize("name", ["HYDRA_FULL_ERROR", "SWEEPER_FULL_ERROR"])
def test_who_asks_for_it_sees_it_whole(typed, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(cli, "_verb", lambda *_: StudyFolder(3).trials)
    with pytest.raises(TypeError):
        cli.main()


def test_what_the_users_code_raises_is_shown_as_it_is(typed, monkeypatch):
    monkeypatch.setattr(cli, "_verb", of_the_user(typed))
    monkeypatch.setattr("sweeper.bugs._is_main", lambda name: name == __file__)
    with pytest.raises(KeyError, match="theirs"):
        cli.main()


def test_a_reader_that_goes_away_is_no_mistake(typed, monkeypatch):
    def gone(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "_verb", gone)
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    monkeypatch.setattr(cli.sys.stdout, "fileno", lambda: 1, raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert 141 == ended.value.code
