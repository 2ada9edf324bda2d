"""What callbacks are told of trials and studies, taken from their records."""

from __future__ import annotations

from pathlib import Path

from sweeper.callbacks.contract import StudyEnded, TrialEnded
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured, Stopped, kind_of, measurement_of, reason_of
from sweeper.core.trial import Trial
from sweeper.report.table import MAIN_SETTINGS, NEVER_SHOWN
from sweeper.report.verdict import verdict
from sweeper.run.study_record import how_it_stands

# What a study changes by itself from trial to trial is no parameter of them.
_NOT_TOLD = ("measure.beaten_seconds", NEVER_SHOWN)


def trial_ended(trial: Trial, baseline: Trial) -> TrialEnded:
    """Beside the baseline, which is told beside itself."""
    differing = {
        name: value
        for name, value in trial.settings.items()
        if name in MAIN_SETTINGS or (name not in _NOT_TOLD and value != baseline.settings.get(name))
    }
    m = measurement_of(trial.outcome)
    tags = {"outcome": kind_of(trial.outcome), "reason": reason_of(trial.outcome)}
    tags |= {"overrides": " ".join(trial.overrides), "notes": "; ".join(trial.notes)}
    tags |= {n: str(v) for n, v in trial.environment.items() if v is not None}
    return TrialEnded(
        number=trial.number,
        name=f"trial-{trial.number:04d}",
        parameters={
            n: v if isinstance(v, str | int | float | bool) else str(v)
            for n, v in differing.items()
        },
        metrics=_metrics(trial),
        step_seconds=m.step_seconds if m is not None else (),
        tags={name: text for name, text in tags.items() if text},
        failed=not isinstance(trial.outcome, Measured | Stopped),
        started_at=trial.started_at,
        ended_at=trial.started_at + trial.wall_seconds,
    )


def _metrics(trial: Trial) -> dict[str, float]:
    m = measurement_of(trial.outcome)
    if m is None:
        return {}
    found = {
        "tokens_per_second_median": m.tokens_per_second,
        "step_seconds_median": m.median_step_seconds,
        "peak_bytes": float(m.peak_bytes),
        "tflops_per_device": m.tflops_per_device,
    }
    return {name: value for name, value in found.items() if value is not None}


def study_ended(folder: StudyFolder) -> StudyEnded:
    """As its folder says once the report is written."""
    how = how_it_stands(folder)
    files: tuple[Path, ...] = (
        folder.report,
        folder.report.with_suffix(".html"),
        folder.trials_csv,
        folder.trials_parquet,
        folder.study,
    )
    return StudyEnded(
        verdict=verdict(how),
        metrics=_metrics(how.winner) if how.winner is not None else {},
        files=tuple(file for file in files if file.exists()),
        best=folder.best if how.winner is not None and folder.best.is_dir() else None,
    )
