"""Follows a study in Weights & Biases: a group for it, with a run for each trial and one for the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wandb

from sweeper.callbacks.contract import StudyBegun, StudyEnded, TrialEnded


class WandbCallback:
    """``mode`` is online, offline or disabled; null leaves it to W&B (``WANDB_MODE``), as for ``entity``."""

    def __init__(self, *, project: str, entity: str | None, mode: str | None) -> None:
        # Its own lines and its capture of the console would break into the study's.
        settings = wandb.Settings(console="off", silent=True, quiet=True)
        self._same: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "mode": mode,
            "settings": settings,
            "reinit": "create_new",
        }
        self._study: StudyBegun | None = None

    def begin(self, study: StudyBegun) -> None:
        study.folder.mkdir(parents=True, exist_ok=True)
        self._same |= {"group": study.name, "dir": str(study.folder)}
        self._study = study

    def trial(self, trial: TrialEnded) -> None:
        run = wandb.init(
            name=trial.name,
            job_type="trial",
            config={**trial.parameters, "sweeper": dict(trial.tags)},
            tags=[trial.tags["outcome"]],
            notes=trial.tags.get("reason"),
            **self._same,
        )
        for step, seconds in enumerate(trial.step_seconds):
            run.log({"step_seconds": seconds}, step=step)
        run.summary.update({**trial.metrics, "outcome": trial.tags["outcome"]})
        run.finish(exit_code=int(trial.failed))

    def end(self, study: StudyEnded) -> None:
        assert self._study is not None
        run = wandb.init(
            name=self._study.name,
            job_type="study",
            config=dict(self._study.facts),
            notes=study.verdict,
            **self._same,
        )
        run.summary.update({**study.metrics, "verdict": study.verdict})
        artifact = wandb.Artifact(f"{self._study.name}-report", type="sweeper-report")
        for file in study.files:
            artifact.add_file(str(file))
        if study.best is not None:
            for file in filter(Path.is_file, study.best.rglob("*")):
                artifact.add_file(str(file), name=f"best/{file.relative_to(study.best).as_posix()}")
        run.log_artifact(artifact)
        run.finish(exit_code=int(study.best is None))
        wandb.teardown()
