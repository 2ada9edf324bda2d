"""report.md of recorded studies, word for word; ``make golden`` writes them anew, for a person to read the difference."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from sweeper.core.folder import StudyFolder
from sweeper.report.build import build_report
from tests.recorded import full_study, recorded, small, small_study
from tests.support import ROOT

GOLDEN = ROOT / "tests" / "golden"


def of_a_real_study(path):
    shutil.copytree(GOLDEN / "gpt2-nano", path)


def of_a_grid(path):
    recorded(path, small()[:3])


STUDIES = {
    "gpt2-nano": of_a_real_study,
    "full": full_study,
    "small": small_study,
    "grid": of_a_grid,
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_report_of_a_recorded_study_is_the_golden_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what is typed in a report starts from there
    folder = StudyFolder(Path("results") / name)
    STUDIES[name](folder.path)
    build_report(folder)
    written, golden = folder.report.read_text(), GOLDEN / f"{name}.report.md"
    if os.environ.get("REFRESH_GOLDEN"):
        golden.write_text(written)
    lines = golden.read_text().splitlines(keepends=True)
    if importlib.util.find_spec("pyarrow") is None:  # an extra
        lines = [line for line in lines if "(trials.parquet)" not in line]
    assert "".join(lines) == written, "if that is meant, type make golden and read the difference"
