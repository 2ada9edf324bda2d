"""Follows a study in MLflow: a run for it, and in that a run for each trial."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from sweeper.callbacks.contract import StudyBegun, StudyEnded, TrialEnded


class MlflowCallback:
    """``tracking_uri`` is a server or a store; null leaves it to MLflow (``MLFLOW_TRACKING_URI``)."""

    def __init__(self, *, experiment: str, tracking_uri: str | None) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # of its tables and migrations
        self._client = MlflowClient(tracking_uri=tracking_uri)
        self._name = experiment
        self._experiment_id = ""
        self._study_run = ""

    def begin(self, study: StudyBegun) -> None:
        known = self._client.get_experiment_by_name(self._name)
        self._experiment_id = (
            known.experiment_id if known else self._client.create_experiment(self._name)
        )
        tags = {"sweeper.folder": str(study.folder), **_own(study.facts)}
        run = self._client.create_run(self._experiment_id, run_name=study.name, tags=tags)
        self._study_run = run.info.run_id

    def trial(self, trial: TrialEnded) -> None:
        ended_ms = int(trial.ended_at * 1000)
        run = self._client.create_run(
            self._experiment_id,
            run_name=trial.name,
            start_time=int(trial.started_at * 1000),
            tags={"mlflow.parentRunId": self._study_run},
        )
        self._client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, ended_ms, 0) for name, value in trial.metrics.items()],
            params=[Param(name, str(value)) for name, value in trial.parameters.items()],
            tags=[RunTag(name, value) for name, value in _own(trial.tags).items()],
        )
        status = "FAILED" if trial.failed else "FINISHED"
        self._client.set_terminated(run.info.run_id, status=status, end_time=ended_ms)

    def end(self, study: StudyEnded) -> None:
        self._client.set_tag(self._study_run, "mlflow.note.content", study.verdict)
        for name, value in study.metrics.items():
            self._client.log_metric(self._study_run, name, value)
        for file in study.files:
            self._client.log_artifact(self._study_run, str(file))
        if study.best is not None:
            self._client.log_artifacts(self._study_run, str(study.best), "best")
        self._client.set_terminated(
            self._study_run, status="FAILED" if study.best is None else "FINISHED"
        )


def _own(tags: Mapping[str, str]) -> dict[str, str]:
    """Apart from MLflow's own and the user's."""
    return {f"sweeper.{name}": value for name, value in tags.items()}
