import json
import os

import pytest

from sweeper.core.files import write_json, write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import Objective
from sweeper.core.outcome import Crashed, Infeasible, Stopped
from sweeper.core.space import Choice, SearchSpace
from sweeper.core.standing import standing
from sweeper.report.build import build_report
from sweeper.report.notes import plots, study_note
from sweeper.search import dashboard
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import open_study
from tests.support import ds_config_of, measured, trial_of

SPACE = SearchSpace(parameters={"zero": Choice(values=tuple(f"stage{n}" for n in range(4)))})
STOPPED = Stopped(measurement=measured(50.0).measurement, reason="clearly beaten")
OUTCOMES = (
    measured(100.0),
    Infeasible(rule="r", reason="stage 1 | is forbidden", violation=0.5),
    Crashed(reason="RuntimeError: x", evidence="Traceback\n```\nRuntimeError: x", exit_code=1),
    STOPPED,
)


def study_of(tmp_path, outcomes=OUTCOMES, storage=None):
    """As a study leaves it: trial folders, study.yaml, and Optuna's storage."""
    folder = StudyFolder(tmp_path / "study")
    study = open_study(
        space=SPACE,
        sampler={"_target_": "optuna.samplers.RandomSampler"},
        storage=storage,
        journal=folder.journal,
        study_name="study",
        directions=["maximize"],
        seed=1,
        value_names=Objective(kind="throughput", target_tokens=1e9).value_names,
    )
    sampler = OptunaSampler(SPACE, study, seed=1, guided=True)
    for number, outcome in enumerate(outcomes):
        point = {"zero": f"stage{number}"}
        trial = trial_of(number, outcome, point=point, overrides=(f"zero=stage{number}",))
        sampler.tell(sampler.propose(point), trial, repeat=False)
        write_json(folder.trial(number).trial, trial.to_json())
        write_json(folder.trial(number).ds_config, ds_config_of(trial))
    write_text(folder.study, f"study_name: study\nstorage: {json.dumps(storage)}\n")
    return folder, study


def note_of(study, number=None):
    """As the dashboard joins it; the version is None where there is no note."""
    trial_id = None if number is None else study.trials[number]._trial_id
    prefix = "dashboard:" if trial_id is None else f"dashboard:{trial_id}:"
    attributes = study._storage.get_study_system_attrs(study._study_id)
    pieces = [key for key in attributes if key.startswith(f"{prefix}note_str:")]
    body = "".join(attributes[f"{prefix}note_str:{n}"] for n in range(len(pieces)))
    return attributes.get(f"{prefix}note_ver"), body


@pytest.fixture(params=["journal", "database"])
def storage(request, tmp_path):
    return None if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


def test_a_report_leaves_its_verdict_as_the_studys_note(tmp_path, storage):
    folder, study = study_of(tmp_path, storage=storage)
    build_report(folder)
    version, body = note_of(study)
    assert 1 == version
    assert "only trial that was measured" in body
    assert f"Report: `{folder.report}`" in body


def test_each_trials_note_says_what_became_of_it_and_where_its_files_are(tmp_path, storage):
    folder, study = study_of(tmp_path, storage=storage)
    build_report(folder)
    notes = [note_of(study, number)[1] for number in range(4)]
    assert (
        "**Trial 0, the winner**: 100 tokens/s (99.01 to 101), step 2.56 s, peak 1.00 GiB"
        in (notes[0])
    )
    assert "infeasible: stage 1 | is forbidden" in notes[1]
    assert "Traceback\n'''\nRuntimeError: x\n```" in notes[2]  # the log cannot end the fence
    assert "stopped: clearly beaten" in notes[3]
    for number, note in enumerate(notes):
        assert f"`zero=stage{number}`" in note
        assert f"Files: `{folder.trial(number).path}`" in note


def test_a_second_report_writes_nothing_that_is_there_already(tmp_path):
    folder, _ = study_of(tmp_path)
    build_report(folder)
    before = folder.journal.read_text()
    build_report(folder)
    assert before == folder.journal.read_text()


def test_a_note_that_somebody_has_edited_stays(tmp_path):
    folder, study = study_of(tmp_path)
    build_report(folder)
    study._storage.set_study_system_attr(study._study_id, "dashboard:1:note_str:0", "my own words")
    study._storage.set_study_system_attr(study._study_id, "dashboard:1:note_ver", 2)
    build_report(folder)
    assert (2, "my own words") == note_of(study, 1)


def test_a_long_note_is_cut_into_pieces_and_a_shorter_one_leaves_no_rest(tmp_path):
    _, study = study_of(tmp_path)
    for body in ("x" * 5000, "short"):
        dashboard.annotate(study, note=body, trial_notes={}, plots={})
        assert (1, body) == note_of(study)
        attributes = study._storage.get_study_system_attrs(study._study_id)
        assert all(len(v) <= 2045 for k, v in attributes.items() if "note_str" in k)


def test_the_picture_has_every_trial_with_a_number_and_says_which_won(tmp_path):
    folder, study = study_of(tmp_path)
    build_report(folder)
    text = "".join(
        value
        for key, value in study._storage.get_study_system_attrs(study._study_id).items()
        if key.startswith("dashboard:plot_data:throughput-memory:")
    )
    traces = {trace["name"]: trace for trace in json.loads(text)["data"]}
    assert {"measured", "stopped early", "winner (trial 0)"} == set(traces)
    assert ([1.0], [50.0]) == (traces["stopped early"]["x"], traces["stopped early"]["y"])
    assert ["trial 3: zero=stage3"] == traces["stopped early"]["text"]


def test_nothing_measured_has_a_note_and_no_picture(tmp_path):
    how = standing([trial_of(0, OUTCOMES[1])])
    assert {} == plots(how)
    assert "the only trial was not measured" in study_note(how, StudyFolder(tmp_path))


def test_optuna_and_its_dashboard_read_the_same_constraint(tmp_path):
    _, study = study_of(tmp_path)
    fits, refused, crashed, _ = study.trials
    assert fits.constraints["0"] <= 0
    assert {"0": 0.5} == refused.constraints
    assert [0.5] == refused.system_attrs["constraints"]
    assert {} == crashed.constraints


def test_values_have_their_names_and_each_trial_its_steps_and_its_time(tmp_path):
    _, study = study_of(tmp_path)
    assert ["tokens/s"] == study.metric_names
    trial = study.trials[0]
    assert [101.01, 100.0, 99.0099] == list(trial.intermediate_values.values())
    assert 12.5 == trial.duration.total_seconds()
    assert {} == study.trials[1].intermediate_values


@pytest.mark.parametrize("kind", ["throughput", "memory", "pareto", "time_to_target", "cost"])
def test_every_value_of_an_objective_has_a_name(kind):
    objective = Objective(kind=kind, target_tokens=1e9)
    assert len(objective.value_names) == len(objective.directions)


def test_a_journal_that_is_locked_is_not_waited_for(tmp_path):
    folder, study = study_of(tmp_path)
    lock = folder.journal.with_name("optuna.journal.lock")
    os.symlink(folder.journal, lock)
    said = build_report(folder)
    assert f"no notes for optuna-dashboard: {lock} is held by" in said
    assert (None, "") == note_of(study)


def test_a_storage_that_may_only_be_read_costs_the_notes_and_nothing_else(tmp_path, monkeypatch):
    folder, study = study_of(tmp_path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(study._storage), "set_study_system_attr", refuse)
    said = build_report(folder)
    assert "no notes for optuna-dashboard: [Errno 13] Permission denied" in said
    assert folder.report.exists()
