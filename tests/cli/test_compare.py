"""``report`` of several studies: what it prints and where, and its errors."""

import pytest

from sweeper.core.files import write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed
from tests.support import measured, run_sweeper, trial_of

_TYPE = "type python -m sweeper report results/<study>"


@pytest.fixture
def here(tmp_path):
    for name, outcome in (
        ("one", measured(100.0)),
        ("other", measured(120.0)),
        ("failed", Crashed(reason="x", evidence="", exit_code=1)),
        ("broken", Crashed(reason="x", evidence="", exit_code=1)),
    ):
        write_json(StudyFolder(tmp_path / name).trial(0).trial, trial_of(0, outcome).to_json())
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_two_studies_are_printed_as_markdown_with_how_to_keep_it_beside(here):
    finished = run_sweeper("report", "one", "other", cwd=here)
    assert 0 == finished.returncode, finished.stderr
    assert finished.stdout.startswith("# one and other\n")
    assert "1.20 (± 0.02)" in finished.stdout
    assert "to keep it, add --output comparison.html, or comparison.md\n" == finished.stderr


def test_a_comparison_is_written_where_it_is_asked_for_and_nowhere_else(here):
    before = {path.name for path in here.rglob("*")}
    finished = run_sweeper("report", "one", "other", "--output", "c.html", cwd=here)
    assert ("comparison: c.html\n", "") == (finished.stdout, finished.stderr)
    assert before | {"c.html"} == {path.name for path in here.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "one study's folder is wanted"),
        (("one", "nowhere"), 2, "there is no study in nowhere (no trials/)"),
        (("one", "empty"), 2, "there is no study in empty (no trials/)"),
        (("one", "./one"), 2, "./one is the same study as one; name each once"),
        (("failed", "broken"), 3, "nothing was measured in any of them (1 trial in failed and 1 "),
        (("one", "other", "--output", "c.pdf"), 2, "ends in .md or .html is wanted"),
        (("one", "other", "--output"), 2, "--output has no value"),
        (("one", "--output", "c.md"), 2, "--output goes with two studies or more"),
        (("one", "other", "--format", "hf"), 2, "--format hf is no flag"),
    ],
)
def test_a_mistake_is_one_line(here, arguments, code, said):
    finished = run_sweeper("report", *arguments, cwd=here)
    assert (code, "") == (finished.returncode, finished.stdout)
    (line,) = finished.stderr.splitlines()
    assert said in line
    assert "type " in line
