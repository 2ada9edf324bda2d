"""Broken and odd scripts, configurations and command lines: each ends with a documented code and one line, or goes on."""

import psutil
import pytest

from tests.real.broken_scripts import ALL, ALWAYS
from tests.real.scripts import QUICK, hashes
from tests.support import run_sweeper

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def words(says):
    return (says,) if isinstance(says, str) else says


def assert_nothing_runs(place):
    there = [p for p in psutil.process_iter(["environ", "cwd"]) if str(place) in str(p.info)]
    assert [] == there, "nothing is left running"


@pytest.mark.parametrize(
    "name", [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.slow) for n in ALL]
)
def test_what_is_broken_ends_with_one_line_that_says_why(name, tmp_path):
    case = ALL[name]
    folder = tmp_path / "theirs"
    folder.mkdir()
    case.write(folder)
    before = hashes(folder)
    done = run_sweeper(
        "+script=train.py",
        f"script.args='{case.arguments}'",
        *QUICK,
        "hydra.sweeper.n_trials=1",
        *case.more,
        cwd=folder,
        timeout=600,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert case.code == done.returncode, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("sweeper: ")]
    assert (0 if case.code == 0 else 1) == len(lines), done.stderr
    told = lines[0] if lines else done.stderr
    for text in words(case.says):
        assert text in told
    assert len(told) < 2000 or not lines, "a line"
    assert before == hashes(folder), "the script's files are not touched"
    assert_nothing_runs(tmp_path)
