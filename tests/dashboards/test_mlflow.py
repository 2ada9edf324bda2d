from pathlib import Path

import pytest

mlflow = pytest.importorskip("mlflow", reason="needs the extra 'mlflow' (make test-dashboards)")


@pytest.fixture(params=["sqlite", "file"])
def client(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow keeps a database's artifacts beside the user
    if request.param == "file":
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        return mlflow.MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def runs_of(client):
    (experiment,) = [e for e in client.search_experiments() if e.name == "sweeper"]
    runs = client.search_runs([experiment.experiment_id])
    return {run.info.run_name: run for run in runs}


def test_a_study_is_a_run_and_its_trials_are_runs_in_it(follow, client):
    follow("mlflow", tracking_uri=client.tracking_uri)
    runs = runs_of(client)
    assert {"gpt2-study", *(f"trial-{n:04d}" for n in range(6))} == set(runs)
    study = runs["gpt2-study"].info.run_id
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert {study} == {parents[f"trial-{n:04d}"] for n in range(6)}
    assert parents["gpt2-study"] is None


def test_a_trials_run_has_what_varies_and_what_was_measured(follow, client):
    follow("mlflow", tracking_uri=client.tracking_uri)
    run = runs_of(client)["trial-0001"]
    assert ("2", "none") == (run.data.params["zero.stage"], run.data.params["offload.optimizer"])
    assert "optimizer.lr" not in run.data.params
    assert 250.0 == pytest.approx(run.data.metrics["tokens_per_second_median"])
    assert 2**29 == run.data.metrics["peak_bytes"]
    assert 12_500 == run.info.end_time - run.info.start_time
    assert "measured" == run.data.tags["sweeper.outcome"]
    assert "2.13.0" == run.data.tags["sweeper.torch"]


def test_what_was_not_measured_is_failed_with_its_reason(follow, client):
    follow("mlflow", tracking_uri=client.tracking_uri)
    runs = runs_of(client)
    states = [runs[f"trial-{n:04d}"].info.status for n in range(6)]
    assert ["FINISHED", "FINISHED", "FAILED", "FINISHED", "FAILED", "FAILED"] == states
    assert "a <b>" == runs["trial-0002"].data.tags["sweeper.reason"]
    assert {} == runs["trial-0002"].data.metrics


def test_the_studys_run_ends_with_the_verdict_the_report_and_the_winner(follow, client):
    folder = follow("mlflow", tracking_uri=client.tracking_uri)
    study = runs_of(client)["gpt2-study"]
    assert "FINISHED" == study.info.status
    assert "trial 1 is the fastest: 250 tokens/s" in study.data.tags["mlflow.note.content"]
    assert 250.0 == pytest.approx(study.data.metrics["tokens_per_second_median"])
    kept = {file.path for file in client.list_artifacts(study.info.run_id)}
    assert {"report.md", "trials.csv", "best"} <= kept
    best = client.download_artifacts(study.info.run_id, "best/ds_config.json")
    assert folder.best_ds_config.read_text() == Path(best).read_text()


def test_a_second_study_goes_to_the_same_experiment(follow, client):
    follow("mlflow", tracking_uri=client.tracking_uri)
    follow("mlflow", tracking_uri=client.tracking_uri)
    assert 14 == len(client.search_runs([e.experiment_id for e in client.search_experiments()]))
