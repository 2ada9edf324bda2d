import json
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

import sweeper
from sweeper.core.files import write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, Stopped
from sweeper.errors import UsageError
from sweeper.report import columns_page, parquet
from sweeper.report.build import build_report
from sweeper.report.columns import Column, columns_of
from sweeper.report.table import MAIN_SETTINGS, trials_table
from tests.support import ROOT, ds_config_of, environment, measured, trial_of

STOPPED = Stopped(measurement=measured(50.0).measurement, reason="clearly beaten")
TRIALS = [
    trial_of(0, measured(100.0)),
    trial_of(1, measured(250.0), overrides=("zero=stage2",), **{"zero.stage": 2}),
    trial_of(2, OutOfMemory(memory="host", phase="build", reason='a, "b"'), **{"zero.stage": 3}),
    trial_of(3, STOPPED, **{"launch.omp_threads": 3}),
    trial_of(4, Infeasible(rule="r", reason="None"), **{"optimizer.betas": [0.9, 0.99]}),
    trial_of(5, Crashed(reason="x", evidence="y", exit_code=1), **{"model.layers": 4}),
]


def study_of(folder, trials=TRIALS):
    study = StudyFolder(folder)
    for trial in trials:
        write_json(study.trial(trial.number).trial, trial.to_json())
        write_json(study.trial(trial.number).ds_config, ds_config_of(trial))
    return study


def read_csv(path, like):
    """As docs/trials-table.md says."""
    types = like.dtypes[like.columns != "started_at"].to_dict()
    return pd.read_csv(
        path, dtype=types, parse_dates=["started_at"], keep_default_na=False, na_values=[""]
    )


def test_csv_parquet_and_loader_give_the_same_table(tmp_path):
    pytest.importorskip("pyarrow", reason="trials.parquet needs the extra 'parquet'")
    study = study_of(tmp_path / "study")
    assert "pyarrow" not in build_report(study)
    loaded = sweeper.load(study.path)
    pd.testing.assert_frame_equal(loaded, pd.read_parquet(study.trials_parquet))
    pd.testing.assert_frame_equal(loaded, read_csv(study.trials_csv, loaded))
    assert list(range(6)) == list(loaded.trial)


def test_settings_keep_their_types_beside_missing_values(tmp_path):
    acting = replace(TRIALS[1], settings={**TRIALS[1].settings, "zero.overlap_comm": True})
    loaded = sweeper.load(study_of(tmp_path / "study", [TRIALS[0], acting, *TRIALS[2:]]).path)
    kinds = {name: str(dtype) for name, dtype in loaded.dtypes.items()}
    assert "Int64" == kinds["zero.stage"] == kinds["launch.omp_threads"] == kinds["model.layers"]
    assert "boolean" == kinds["zero.overlap_comm"]
    assert kinds["optimizer.betas"].startswith("string")
    assert [pd.NA, 3] == [loaded["launch.omp_threads"][n] for n in (0, 3)]
    assert "[0.9, 0.99]" == loaded["optimizer.betas"][4]


def test_a_text_that_looks_like_nothing_is_kept_and_an_empty_one_is_missing(tmp_path):
    study = study_of(tmp_path / "study")
    build_report(study)
    table = read_csv(study.trials_csv, sweeper.load(study.path))
    assert "None" == table.reason[4]
    assert pd.isna(table.reason[0])


def test_a_study_that_runs_is_loaded_as_far_as_it_got(tmp_path):
    study = study_of(tmp_path / "study", TRIALS[:2])
    study.trial(2).path.mkdir()
    study.trial(2).pending.write_text('{"schema_version": 1, "number": 2, "point": {}}')
    assert [0, 1] == list(sweeper.load(study.path).trial)
    assert not study.trials_csv.exists()


def test_a_study_without_a_trial_gives_the_columns(tmp_path):
    study = StudyFolder(tmp_path)
    study.study.write_text("schema_version: 1\n")
    empty = sweeper.load(tmp_path)
    assert (0, "Int64") == (len(empty), str(empty["zero.stage"].dtype))


def test_several_studies_are_told_apart_and_each_has_its_own_baseline(tmp_path):
    study_of(tmp_path / "a", TRIALS[:2])
    slower = [replace(t, environment={"torch": "2.12.0"}) for t in TRIALS[:3]]
    study_of(tmp_path / "b", slower)
    both = sweeper.load(tmp_path / "a", str(tmp_path / "b"))
    assert ["a", "a", "b", "b", "b"] == list(both.study)
    assert [True, False, True, False, True] == list(both.loss_difference.isna())
    assert 2 == both.environment.nunique()


def test_two_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    for place in ("x", "y"):
        study_of(tmp_path / place / "study", TRIALS[:1])
    both = sweeper.load(tmp_path / "x" / "study", tmp_path / "y" / "study")
    assert [str(tmp_path / p / "study") for p in ("x", "y")] == list(both.study)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: [], r"no study was given; type sweeper\.load"),
        (lambda p: [p / "nowhere"], r"nowhere'\): there is no such folder; type"),
        (lambda p: [p], r"there is no study in this folder \(no study.yaml, no trials/\); type"),
    ],
)
def test_what_is_no_study_is_one_line(tmp_path, make, said):
    with pytest.raises(UsageError, match=said) as raised:
        sweeper.load(*make(tmp_path))
    assert "\n" not in str(raised.value)


def test_without_pyarrow_the_report_says_what_to_install_and_leaves_no_stale_file(
    tmp_path, monkeypatch
):
    study = study_of(tmp_path / "study")
    study.trials_parquet.write_bytes(b"of an earlier report")
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    said = build_report(study)
    assert "no trials.parquet: pyarrow is not installed (pip install" in said
    assert not study.trials_parquet.exists()


def test_a_value_of_another_type_than_its_column_is_a_bug():
    column = Column(name="steps", dtype="Int64", unit="steps", meaning="timed")
    for wrong in (1.5, "1", True):
        with pytest.raises(TypeError, match="column steps"):
            column.checked(wrong)
    bad = replace(TRIALS[0], wall_seconds="long")
    with pytest.raises(TypeError, match="column wall_seconds"):
        trials_table({"s": [bad]})


def test_free_settings_take_the_type_of_their_values():
    values = [{"ds.a": 1, "ds.b": 1, "ds.c": True, "ds.d": 1, "ds.e": None}]
    values += [{"ds.a": None, "ds.b": 0.5, "ds.c": False, "ds.d": "auto", "ds.e": None}]
    kinds = {c.name: c.dtype for c in columns_of(["ds.a", "ds.b", "ds.c", "ds.d", "ds.e"], values)}
    assert ["Int64", "float64", "boolean", "string", "string"] == [
        kinds[f"ds.{n}"] for n in "abcde"
    ]
    assert json.dumps(1) == Column(name="ds.d", dtype="string", meaning="").checked(1)


def test_every_column_is_described_once():
    columns = columns_of(MAIN_SETTINGS, [])
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert column.meaning, column.name
        if column.name.endswith("_bytes"):
            assert "bytes" == column.unit
        if column.name.endswith("_seconds"):
            assert "s" == column.unit


def test_the_page_has_the_columns_of_the_code():
    text = columns_page.page().read_text()
    assert columns_page.with_columns(text) == text, (
        "type python -m sweeper.report.columns_page to write docs/trials-table.md anew"
    )


def test_the_loader_costs_nothing_until_it_is_called():
    code = "import sys, sweeper; assert 'pandas' not in sys.modules; print(sweeper.load.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert ("load\n", "") == (done.stdout, done.stderr)


def test_another_name_is_still_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        sweeper.lode  # noqa: B018
