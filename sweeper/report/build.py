"""Builds everything that is derived of a study: table, figures, report and bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from sweeper.core.equivalence import best_trial
from sweeper.core.folder import StudyFolder, write_text
from sweeper.errors import UsageError
from sweeper.report.bundle import write_bundle
from sweeper.report.figures import draw_figures
from sweeper.report.markdown import report_markdown, verdict
from sweeper.report.table import trials_table


def build_report(folder: StudyFolder, *, stop_reason: str | None = None) -> str:
    """Writes it all into the study's folder; returns the verdict and where the files are.

    Raises UsageError where no trial has ended yet.
    """
    trials = folder.read_trials()
    if not trials:
        raise UsageError(f"{folder.path}: no trial of this study has ended; nothing to report")
    study = _study(folder)
    write_text(folder.trials_csv, trials_table(trials).to_csv(index=False))
    figures = draw_figures(trials, _importances(folder, study), folder.figures)
    write_text(
        folder.report,
        report_markdown(
            trials,
            study=study,
            figures=figures,
            root=folder.path,
            stop_reason=stop_reason or _stored_reason(folder) or "it was ended from outside",
        ),
    )
    if stop_reason is not None:
        write_text(folder.stop_reason, stop_reason + "\n")
    best = best_trial(trials)
    write_bundle(folder, trials, best)
    files = [f"report: {folder.report}"]
    if best is not None:
        files.append(f"config: {folder.best_ds_config}")
    return "\n".join([verdict(trials), *files])


def _study(folder: StudyFolder) -> Mapping[str, Any]:
    if not folder.study.exists():
        return {}  # a plain grid has none
    loaded = yaml.safe_load(folder.study.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}


def _stored_reason(folder: StudyFolder) -> str | None:
    return folder.stop_reason.read_text().strip() if folder.stop_reason.exists() else None


def _importances(folder: StudyFolder, study: Mapping[str, Any]) -> dict[str, float]:
    if "study_name" not in study:
        return {}
    from sweeper.search.optuna_sampler import importances, load_study

    loaded = load_study(study.get("storage"), folder.journal, study["study_name"])
    return importances(loaded) if loaded is not None else {}
