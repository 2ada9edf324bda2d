"""A report outlives whatever goes wrong beside it: each loss is a line, and costs nothing else."""

import errno
import json

import pytest

from sweeper.core.export_formats import FORMATS
from sweeper.core.folder import StudyFolder
from sweeper.errors import SweeperError
from sweeper.report import build, bundle
from sweeper.report.build import build_report
from sweeper.report.export import export
from sweeper.report.figures import best_so_far, draw_figures
from tests.exports.made_up import ADAM, SIZES, study_of_script
from tests.support import run_sweeper

OWN = {**SIZES, "optimizer": ADAM, "zero_optimization": {"stage": 2}}
# What makes a format's file
CONVERTERS = {
    "native": "exported_settings",
    "torchrun": "torchrun_script",
    "slurm": "slurm_script",
    "hf": "trainer_arguments",
    "accelerate": "accelerate_config",
    "lightning": "lightning_variant",
    "axolotl": "axolotl_lines",
    "llamafactory": "llamafactory_lines",
}


@pytest.fixture
def folder(tmp_path) -> StudyFolder:
    return study_of_script(tmp_path, OWN)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(build, "draw_figures", lambda *_, **__: ())


def fails(*_, **__):
    raise KeyError("gradient_accumulation_steps")


def assert_the_report_is_there(folder: StudyFolder, said: str, line: str) -> None:
    for text in (folder.report.read_text(), folder.report_html.read_text(), said):
        assert line in text.replace("&#x27;", "'")
    assert "trial 1 is the fastest" in said
    assert 3 == len(folder.trials_csv.read_text().splitlines())


@pytest.mark.parametrize("name", [n for n in CONVERTERS if n != "native"])
def test_a_format_that_cannot_be_made_is_a_line_and_costs_no_other(folder, monkeypatch, name):
    monkeypatch.setattr(bundle, CONVERTERS[name], fails)
    said = build_report(folder)
    line = f"export {name} could not be made: KeyError: 'gradient_accumulation_steps'"
    assert_the_report_is_there(folder, said, line)
    readme = folder.bundle.readme.read_text()
    assert f"* `{name}`: could not be made: KeyError" in readme
    assert OWN == json.loads(folder.best_ds_config.read_text())
    for other in FORMATS:
        assert (other == name) is (f"(`--format {other}`)" not in readme)
    log = folder.errors.read_text()
    assert log.startswith(f"export {name}\nTraceback")
    assert "in fails" in log


def test_a_fault_in_all_of_best_costs_best_alone(folder, monkeypatch):
    monkeypatch.setattr(bundle, CONVERTERS["native"], fails)
    said = build_report(folder)
    assert_the_report_is_there(folder, said, "best/ could not be made: KeyError")
    assert not folder.best.exists()
    assert "config:" not in said
    assert "launch.sh" not in folder.report.read_text()


@pytest.mark.parametrize("text", [None, '{"train_batch_size": ', "[]", "null"])
def test_a_script_winners_damaged_configuration_costs_the_bundle_and_not_the_report(folder, text):
    """What a script's configuration held is in no plan of ours."""
    build_report(folder)
    path = folder.trial(1).ds_config
    path.unlink() if text is None else path.write_text(text)
    said = build_report(folder)
    line = f"best/ could not be made: {path}: missing or damaged"
    assert_the_report_is_there(folder, said, line)
    assert f"note: {path} " in said
    assert "the winner cannot be exported" in said
    assert not folder.best.exists(), "what an earlier report left is not this one's"
    assert not folder.errors.exists(), "it is no bug"


def test_the_report_is_there_before_a_file_of_an_export_is_written(folder, monkeypatch):
    def full(_):
        assert folder.report.exists()
        assert folder.report_html.exists()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "write_files", full)
    said = build_report(folder)
    line = "best/ could not be made: No space left on device"
    assert_the_report_is_there(folder, said, line)
    assert "launch.sh" not in folder.report.read_text()
    assert "(best/)" not in folder.report.read_text()


def test_a_report_without_a_fault_forgets_those_of_an_earlier_one(folder, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(bundle, "trainer_arguments", fails)
        build_report(folder)
    assert "could not" not in build_report(folder)
    assert not folder.errors.exists()
    assert folder.bundle.trainer_arguments.exists()


def test_a_picture_that_cannot_be_drawn_is_a_line_and_costs_no_other(folder, monkeypatch):
    monkeypatch.setattr(build, "draw_figures", draw_figures)
    monkeypatch.setattr(best_so_far, "picture", fails)
    said = build_report(folder)
    assert_the_report_is_there(folder, said, "the picture best_so_far could not be made: KeyError")
    assert (folder.figures / "throughput_memory.png").exists()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("draw_figures", "the pictures"),
        ("explained", "what explains the throughputs"),
        ("_robustness", "how robust the winner is"),
        ("write_parquet", "trials.parquet"),
        ("write_notes", "notes for optuna-dashboard"),
    ],
)
def test_what_else_belongs_to_a_report_is_a_line_where_it_fails(folder, monkeypatch, name, what):
    monkeypatch.setattr(build, name, fails)
    said = build_report(folder)
    assert_the_report_is_there(folder, said, f"{what} could not be made: KeyError")
    assert folder.best_ds_config.exists()


@pytest.mark.parametrize("name", ["answer", "why", "trust", "everything"])
def test_a_section_that_cannot_be_made_costs_no_other(folder, monkeypatch, name):
    from sweeper.report import page

    def section(facts):
        fails()

    section.__name__ = name
    others = [section if make.__name__ == name else make for make in page._SECTIONS]
    monkeypatch.setattr(page, "_SECTIONS", (*others,))
    if name == "answer":
        monkeypatch.setattr(page, "answer", section)
    said = build_report(folder)
    assert_the_report_is_there(folder, said, f"the section {name} could not be made: KeyError")
    assert f"`{name}`" not in folder.report.read_text()


def test_a_page_that_cannot_be_made_leaves_the_text(folder, monkeypatch):
    monkeypatch.setattr(build, "to_html", fails)
    said = build_report(folder)
    assert "report.html could not be made: KeyError" in said
    assert "report.html could not be made: KeyError" in folder.report.read_text()
    assert folder.best_ds_config.exists()


def test_a_folder_in_which_nothing_more_can_be_kept_does_not_hide_the_line(folder, monkeypatch):
    folder.errors.mkdir()
    monkeypatch.setattr(bundle, "slurm_script", fails)
    assert "export slurm could not be made: KeyError" in build_report(folder)


def test_export_of_a_format_that_cannot_be_made_is_one_line_and_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr(bundle, "trainer_arguments", fails)
    with pytest.raises(
        SweeperError, match=r"export hf could not be made: KeyError: .*more\)$"
    ) as it:
        export(str(folder.path), name="hf", to=None, force=False)
    assert 1 == it.value.exit_code
    assert not folder.export("hf").exists()
    assert "in fails" in folder.errors.read_text()


def test_export_of_all_writes_those_that_can_be_made(folder, monkeypatch):
    monkeypatch.setattr(bundle, "trainer_arguments", fails)
    said = export(str(folder.path), name="all", to=None, force=False)
    assert "\nnot hf: could not be made: KeyError" in said
    assert (folder.export("all") / "accelerate.yaml").exists()


def test_report_of_a_study_whose_winner_is_damaged_ends_well(folder):
    folder.trial(1).ds_config.write_text("{")
    finished = run_sweeper("report", str(folder.path), cwd=folder.path.parent)
    assert 0 == finished.returncode, finished.stderr
    assert "best/ could not be made: " in finished.stdout
    finished = run_sweeper("export", str(folder.path), cwd=folder.path.parent)
    assert 2 == finished.returncode
    (line,) = finished.stderr.strip().splitlines()
    assert "missing or damaged" in line
