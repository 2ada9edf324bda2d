"""Builds everything that is derived of a study: table, figures, report and bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from sweeper.core.contest_record import read_contest
from sweeper.core.finalists import FinalistsResult, peak_bytes
from sweeper.core.folder import StudyFolder, read_json, write_text
from sweeper.core.objective import THROUGHPUT, Objective, objective_from_mapping
from sweeper.core.outcome import Measured
from sweeper.core.robustness import Robustness, longest_sequence, robustness
from sweeper.core.standing import Standing, standing
from sweeper.errors import UsageError
from sweeper.report.bundle import write_bundle
from sweeper.report.figures import draw_figures
from sweeper.report.markdown import report_markdown
from sweeper.report.table import trials_table
from sweeper.report.verdict import verdict


def build_report(folder: StudyFolder, *, stop_reason: str | None = None) -> str:
    """Writes it all into the study's folder; returns the verdict and where the files are.

    Raises UsageError where no trial has ended yet.
    """
    trials = folder.read_trials()
    if not trials:
        raise UsageError(f"{folder.path}: no trial of this study has ended; nothing to report")
    study = _study(folder)
    how = standing(trials, _objective(study), _finals(folder))
    write_text(folder.trials_csv, trials_table(trials).to_csv(index=False))
    figures = draw_figures(trials, _importances(folder, study), folder.figures)
    write_text(
        folder.report,
        report_markdown(
            how,
            study=study,
            figures=figures,
            root=folder.path,
            stop_reason=stop_reason or _stored_reason(folder) or "it was ended from outside",
            robust=_robustness(folder, how, study),
            ruled_out=read_json(folder.ruled_out),
            script=read_json(folder.script),
        ),
    )
    if stop_reason is not None:
        write_text(folder.stop_reason, stop_reason + "\n")
    write_bundle(folder, how)
    files = [f"report: {folder.report}"]
    if how.winner is not None:
        files.append(f"config: {folder.best_ds_config}")
    return "\n".join([verdict(how), *files])


def _study(folder: StudyFolder) -> Mapping[str, Any]:
    if not folder.study.exists():
        return {}  # a plain grid has none
    loaded = yaml.safe_load(folder.study.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}


def _objective(study: Mapping[str, Any]) -> Objective:
    values = study.get("config", {}).get("objective")
    return objective_from_mapping(values) if values else THROUGHPUT


def _finals(folder: StudyFolder) -> FinalistsResult | None:
    recorded = read_contest(folder.finalists)
    return recorded[1] if recorded is not None else None


def _robustness(folder: StudyFolder, how: Standing, study: Mapping[str, Any]) -> Robustness | None:
    """Of a study's winner; a plain grid has no space that was written down."""
    if how.winner is None or not isinstance(how.winner.outcome, Measured) or "space" not in study:
        return None
    peak = how.winner.outcome.measurement.peak_bytes
    if how.finals is not None:
        peak = peak_bytes(how.finals.rounds, how.winner.number) or peak
    return robustness(
        how.winner,
        how.trials,
        steps={n: v for n, v in study["space"].items() if isinstance(v, list)},
        peak_bytes=peak,
        limit_bytes=how.winner.memory_limit_bytes or None,
        longest=longest_sequence(read_json(folder.longest_sequence)),
    )


def _stored_reason(folder: StudyFolder) -> str | None:
    return folder.stop_reason.read_text().strip() if folder.stop_reason.exists() else None


def _importances(folder: StudyFolder, study: Mapping[str, Any]) -> dict[str, float]:
    if "study_name" not in study:
        return {}
    from sweeper.search.optuna_study import importances, load_study

    loaded = load_study(study.get("storage"), folder.journal, study["study_name"])
    return importances(loaded) if loaded is not None else {}
