import json

from sweeper.core.files import read_json, write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.prediction import Prediction
from tests.support import measured, trial_of


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "a folder" / "x.json"
    write_json(path, {"n": 1})
    write_json(path, {"n": 2})
    assert {"n": 2} == read_json(path)
    assert ["x.json"] == [p.name for p in path.parent.iterdir()]


def test_half_a_json_counts_as_none(tmp_path):
    (tmp_path / "x.json").write_text('{"kind": "meas')
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "absent.json") is None


def test_trials_are_read_by_number_and_an_unfinished_one_is_left_out(tmp_path):
    folder = StudyFolder(tmp_path / 'it\'s a "study"')
    for number in (10, 2):
        write_json(folder.trial(number).trial, trial_of(number, measured()).to_json())
    folder.trial(3).path.mkdir()
    assert [2, 10] == [trial.number for trial in folder.read_trials()]


def test_predictions_are_read_by_trial_and_one_of_another_schema_is_none(tmp_path):
    folder = StudyFolder(tmp_path)
    kept = Prediction(peak_bytes=2**30, deviation_bytes=2**20)
    write_json(folder.trial(7).prediction, kept.to_json())
    write_json(folder.trial(8).prediction, {"schema_version": 99})
    folder.trial(9).path.mkdir(parents=True)
    assert {7: kept} == folder.read_predictions()


def test_every_json_of_ours_has_a_schema_version(tmp_path):
    document = trial_of(0, measured()).to_json()
    assert 1 == json.loads(json.dumps(document))["schema_version"]
