"""``verify`` and its neighbours on studies that cannot be read, or lack what they need: one line each."""

import shutil
from dataclasses import replace

import pytest

from sweeper.core.files import read_json, write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, OutOfMemory
from sweeper.core.plan import plan
from sweeper.core.settings import settings_from_flat
from sweeper.errors import UsageError
from sweeper.report.build import build_report
from sweeper.report.export import export
from sweeper.run.claim import claim_of
from sweeper.run.kept import spec_of
from sweeper.run.machine import quick_look
from tests.support import ROOT, measured, run_sweeper, trial_of

CRASHED = Crashed(reason="a rank died", evidence="", exit_code=1)
OOM = OutOfMemory(memory="host", phase="build", reason="too large")


def study(path, *trials):
    folder = StudyFolder(path)
    for trial in trials:
        write_json(folder.trial(trial.number).trial, trial.to_json())
    return folder


def one_line(finished, *said):
    assert 2 == finished.returncode, finished.stderr
    assert "" == finished.stdout
    (line,) = finished.stderr.strip().splitlines()
    for part in said:
        assert part in line


@pytest.mark.parametrize("arguments", [(), ("results/a", "results/b")])
def test_verify_wants_one_study(tmp_path, arguments):
    finished = run_sweeper("verify", *arguments, cwd=tmp_path)
    one_line(finished, "one study's folder is wanted", "type python -m sweeper verify results/")


@pytest.mark.parametrize("made", [False, True])
def test_verify_wants_a_folder_with_a_study(tmp_path, made):
    if made:
        (tmp_path / "nowhere").mkdir()
    finished = run_sweeper("verify", "nowhere", cwd=tmp_path)
    one_line(finished, "verify nowhere: there is no study in this folder", "type python -m sweeper")


def test_verify_wants_a_baseline(tmp_path):
    study(tmp_path / "mine", trial_of(1, measured()))
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    one_line(
        finished,
        "the baseline (trial 0) of this study has not ended",
        "hydra.sweep.dir=mine hydra.sweeper.resume=true",
    )


def test_verify_wants_a_winner(tmp_path):
    study(tmp_path / "mine", trial_of(0, CRASHED), trial_of(1, OOM))
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    one_line(finished, "has no winner, none of its 2 trials was measured", "type python -m sweeper")


@pytest.mark.parametrize("spec", [None, {"schema_version": 1}, [1], "half"])
def test_a_specification_that_is_lost_is_planned_again_from_the_settings(tmp_path, spec):
    trial = trial_of(1, measured(2000))
    folder = study(tmp_path / "mine", trial_of(0, measured(1000)), trial)
    if spec is not None:
        write_json(folder.trial(1).spec, spec)
    assert plan(settings_from_flat(trial.settings), quick_look()).ready == spec_of(folder, trial)


def test_a_trial_whose_settings_are_lost_too_cannot_be_run_again(tmp_path):
    trial = replace(trial_of(1, measured(2000)), settings={"zero.stage": 1})
    folder = study(tmp_path / "mine", trial_of(0, measured(1000)), trial)
    with pytest.raises(UsageError, match=r"0001/spec\.json: missing or damaged.*; type python -m"):
        spec_of(folder, trial)


def test_a_baseline_that_won_leaves_nothing_to_verify(tmp_path):
    study(tmp_path / "mine", trial_of(0, measured(2000)), trial_of(1, measured(1000)))
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    assert 0 == finished.returncode, finished.stderr
    assert "the baseline itself (trial 0) won this study: nothing to verify" in finished.stdout


def golden(path, change):
    """A copy of a real study, of which something was lost on the way."""
    shutil.copytree(ROOT / "tests" / "golden" / "gpt2-nano", path)
    change(path)


def half(path):
    path.write_text(path.read_text()[:200])


def winners_record_is_half(study):
    shutil.rmtree(study / "finalists")
    (study / "finalists.json").unlink()
    half(study / "trials" / "0001" / "trial.json")


def winner_is_gone(study):
    shutil.rmtree(study / "trials" / "0001")


def rounds_are_gone(study):
    shutil.rmtree(study / "finalists")


def record_is_of_another_version(study):
    path = study / "trials" / "0003" / "trial.json"
    write_json(path, read_json(path) | {"schema_version": 7})


def finals_lack_the_contest(study):
    (study / "finalists.json").write_text('{"schema_version": 1}')


def finals_are_half(study):
    half(study / "finalists.json")


def study_file_is_half(study):
    (study / "study.yaml").write_text("config: {objective: [")


LOST = {
    winners_record_is_half: "mine/trials/0001/trial.json is half: trial 1 is left out",
    winner_is_gone: "",
    rounds_are_gone: "records of rounds that finalists.json tells of are missing",
    record_is_of_another_version: "mine/trials/0003/trial.json is by another version of sweeper",
    finals_lack_the_contest: "",
    finals_are_half: "mine/finalists.json is half: who took part is taken from the rounds",
    study_file_is_half: "mine/study.yaml is no YAML: how the study was made is left out",
}


@pytest.mark.parametrize("change", LOST)
def test_what_is_lost_is_told_and_the_rest_goes_on(tmp_path, change):
    golden(tmp_path / "mine", change)
    study = tmp_path / "mine"
    exported = export(str(study), name="hf", to=None, force=False)
    assert LOST[change] in exported
    reported = build_report(StudyFolder(study))
    assert LOST[change] in reported
    assert "could not be made" not in reported
    assert claim_of(StudyFolder(study), str(study)).winner


@pytest.mark.parametrize("change", [winner_is_gone, finals_are_half, finals_lack_the_contest])
def test_the_finals_still_say_who_won(tmp_path, change):
    golden(tmp_path / "mine", change)
    assert 1 == claim_of(StudyFolder(tmp_path / "mine"), "mine").winner.number


def test_a_record_of_another_version_is_not_gone_on_with(tmp_path):
    golden(tmp_path / "mine", record_is_of_another_version)
    before = sorted(tmp_path.rglob("*"))
    one_line(run_sweeper("resume=mine", cwd=tmp_path), "is by another version of sweeper")
    assert before == sorted(tmp_path.rglob("*"))


def test_a_study_file_that_is_lost_is_written_anew_from_the_command_line_typed_again(tmp_path):
    golden(tmp_path / "mine", study_file_is_half)
    one_line(run_sweeper("resume=mine", cwd=tmp_path), "hydra.sweeper.resume=true behind it")


def test_a_trial_that_was_interrupted_has_no_record_and_is_left_out(tmp_path):
    golden(tmp_path / "mine", lambda study: None)
    folder = StudyFolder(tmp_path / "mine")
    write_json(folder.trial(10).pending, {"point": {}})
    assert 1 == claim_of(folder, "mine").winner.number


def test_what_the_study_was_after_is_not_guessed(tmp_path):
    def without(study):
        text = (study / "study.yaml").read_text()
        (study / "study.yaml").write_text(text[: text.index("  objective:")])

    golden(tmp_path / "mine", without)
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    one_line(finished, "mine/study.yaml: what the study was after is not known")
