"""``verify`` but for the measuring: its errors, and what it concludes."""

import json
from dataclasses import replace

import pytest

from sweeper.core.files import write_json
from sweeper.core.finalists import Contest, judge
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, OutOfMemory
from sweeper.errors import GainGone
from sweeper.run.verify import Claim, conclusion, environment_changes
from tests.support import measured, run_sweeper, trial_of

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
    one_line(finished, "the baseline (trial 0) of this study has not ended", "resume=mine")


def test_verify_wants_a_winner(tmp_path):
    study(tmp_path / "mine", trial_of(0, CRASHED), trial_of(1, OOM))
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    one_line(finished, "has no winner, none of its 2 trials was measured", "type python -m sweeper")


def test_verify_wants_the_winner_to_be_there_still(tmp_path):
    study(tmp_path / "mine", trial_of(0, measured(1000)), trial_of(1, measured(2000)))
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    one_line(finished, "mine/trials/0000/spec.json: missing", "type python -m sweeper")
    assert ["trials"] == [path.name for path in (tmp_path / "mine").iterdir()]


def test_verify_reads_no_specification_of_another_version(tmp_path):
    folder = study(tmp_path / "mine", trial_of(0, measured(1000)), trial_of(1, measured(2000)))
    write_json(folder.trial(0).spec, {"schema_version": 1})
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    one_line(finished, "written by another version of sweeper", "schema_version=1")


def test_a_baseline_that_won_leaves_nothing_to_verify(tmp_path):
    study(tmp_path / "mine", trial_of(0, measured(2000)), trial_of(1, measured(1000)))
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    assert 0 == finished.returncode, finished.stderr
    assert "the baseline itself (trial 0) won this study: nothing to verify" in finished.stdout


def test_the_winner_is_that_of_the_finals_where_there_were_some(tmp_path):
    folder = study(tmp_path / "mine", trial_of(0, measured(1000)), trial_of(1, measured(2000)))
    for number in (1, 2, 3):  # the search was wrong
        for trial in (trial_of(0, measured(1000 + number)), trial_of(1, measured(900))):
            write_json(folder.finalists.trial(number, trial.number).trial, trial.to_json())
    contest = {"finalists": [1], "baseline": 0, "min_rounds": 3, "max_rounds": 3}
    folder.finalists.summary.write_text(json.dumps({"schema_version": 1, "contest": contest}))
    finished = run_sweeper("verify", "mine", cwd=tmp_path)
    assert 0 == finished.returncode, finished.stderr
    assert "the baseline itself (trial 0) won this study" in finished.stdout


def told(winner_rates, baseline_rates):
    rounds = [
        {0: measured(b), 1: measured(w)} for w, b in zip(winner_rates, baseline_rates, strict=True)
    ]
    claim = Claim(
        winner=trial_of(1, measured()),
        baseline=trial_of(0, measured()),
        was="was 1.50 (1.40 to 1.60)",
    )
    return conclusion(claim, judge(Contest(finalists=(1,), baseline=0), rounds))


def test_a_gain_that_holds_is_told_with_its_interval_and_what_it_was():
    said = told([1500, 1510, 1490], [1000, 1001, 1000])
    assert "the gain holds: 1.50 (1.48 to 1.52) times the baseline, was 1.50 (1.40 to 1.60)" == said


def test_a_gain_within_the_noise_is_gone_and_so_is_one_that_turned_round():
    with pytest.raises(GainGone, match=r"not told from noise: 1\.05"):
        told([1200, 1050, 920], [1000, 1001, 1000])
    with pytest.raises(GainGone, match=r"trial 1 is now the slower one: 0\.50"):
        told([500, 501, 499], [1000, 1001, 1000])
    assert 5 == GainGone.exit_code


def test_what_has_changed_since_the_study_is_named_but_another_host_is_not(tmp_path):
    baseline = trial_of(0, measured())
    claim = Claim(winner=trial_of(1, measured()), baseline=baseline, was="")
    rounds = StudyFolder(tmp_path).verification("now")
    assert [] == environment_changes(claim, rounds)
    now = replace(baseline, environment={**baseline.environment, "torch": "9.0", "host": "b"})
    write_json(rounds.trial(1, 0).trial, now.to_json())
    assert ["torch was 2.13.0, is 9.0"] == environment_changes(claim, rounds)
