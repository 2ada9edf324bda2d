"""Writes a study for TensorBoard: each trial's steps, its hyperparameters with what they gave, the answer."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from sweeper.callbacks.contract import StudyBegun, StudyEnded, TrialEnded


class TensorBoardCallback:
    """``folder`` is where the event files go; null takes ``tensorboard/`` in the study's own folder."""

    def __init__(self, *, folder: str | None) -> None:
        self._given = folder
        self._root = Path()
        self._study: SummaryWriter | None = None

    def begin(self, study: StudyBegun) -> None:
        self._root = Path(self._given) / study.name if self._given else study.folder / "tensorboard"
        lines = "\n".join(f"* {name}: {value}" for name, value in study.facts.items())
        # Open throughout: event files are named by the second, and one of the same name is replaced.
        self._study = self._writer("study")
        self._study.add_text("study", f"{study.folder}\n\n{lines}")
        self._study.flush()

    def trial(self, trial: TrialEnded) -> None:
        with self._writer(trial.name) as writer:
            for step, seconds in enumerate(trial.step_seconds):
                writer.add_scalar("step_seconds", seconds, step)
            for name, value in trial.metrics.items():
                writer.add_scalar(name, value, 0)
            values = {**trial.parameters, "outcome": trial.tags["outcome"]}
            for summary in hparams(values, dict(trial.metrics)):
                writer.file_writer.add_summary(summary)
            told = (f"* {name}: {value}" for name, value in trial.tags.items())
            writer.add_text("outcome", "\n".join(told))
        assert self._study is not None
        for name, value in trial.metrics.items():
            self._study.add_scalar(f"by_trial/{name}", value, trial.number)
        self._study.flush()

    def end(self, study: StudyEnded) -> None:
        assert self._study is not None
        self._study.add_text("verdict", study.verdict)
        for name, value in study.metrics.items():
            self._study.add_scalar(f"winner/{name}", value, 0)
        self._study.close()

    def _writer(self, name: str) -> SummaryWriter:
        return SummaryWriter(logdir=str(self._root / name), write_to_disk=True)
