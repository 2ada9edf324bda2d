"""Builds everything that is derived of a study: table, figures, report and bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.core.contest_record import read_contest, write_contest
from sweeper.core.files import read_json, write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import measurement_of
from sweeper.core.robustness import Robustness, longest_sequence, robustness
from sweeper.core.rounds import peak_bytes
from sweeper.core.standing import Standing
from sweeper.errors import UsageError
from sweeper.report.alternatives import forbidden
from sweeper.report.bundle import write_bundle
from sweeper.report.explained import explained
from sweeper.report.figures import draw_figures
from sweeper.report.html import to_html
from sweeper.report.knobs import Knobs, knobs_of
from sweeper.report.markdown import to_markdown
from sweeper.report.notes import write_notes
from sweeper.report.page import report_page
from sweeper.report.page.everything import known_files
from sweeper.report.page.facts import FROM_OUTSIDE, StudyFacts
from sweeper.report.parquet import write_parquet
from sweeper.report.table import trials_table
from sweeper.report.verdict import verdict
from sweeper.run.study_record import how_it_stands, study_document

# The files of a trial that a reader may want to open.
_OF_A_TRIAL = (
    "spec.json",
    "ds_config.json",
    "command.txt",
    "stdout.log",
    "stderr.log",
    "trial.json",
)


def build_report(folder: StudyFolder, *, stop_reason: str | None = None) -> str:
    """Writes it all into the study's folder; returns the verdict and where the files are.

    Raises UsageError where no trial has ended yet.
    """
    study, how = study_document(folder), how_it_stands(folder)
    if (played := read_contest(folder.finalists)) is not None:
        write_contest(folder.finalists, *played)
    trials = how.trials
    if not trials:
        raise UsageError(f"{folder.path}: no trial of this study has ended; nothing to report")
    table = trials_table({folder.name: trials})
    write_text(folder.trials_csv, table.to_csv(index=False))
    not_written = [write_parquet(table, folder.trials_parquet)]
    write_bundle(folder, how)
    ended = stop_reason or _stored_reason(folder) or FROM_OUTSIDE
    page = report_page(_facts(folder, study, how, ended))
    write_text(folder.report, to_markdown(page, folder.path))
    write_text(folder.report_html, to_html(page))
    if stop_reason is not None:
        write_text(folder.stop_reason, stop_reason + "\n")
    not_written.append(write_notes(folder, study, how))
    files = [f"report: {folder.report_html} (as text: {folder.report.name})"]
    if how.winner is not None:
        files.append(f"config: {folder.best_ds_config}")
    return "\n".join([verdict(how), *files, *filter(None, not_written)])


def _facts(
    folder: StudyFolder, study: Mapping[str, Any], how: Standing, stop_reason: str
) -> StudyFacts:
    """Of a folder that has its bundle; draws the figures."""
    predictions = folder.read_predictions()
    knobs = knobs_of(how.trials, study.get("space", {}))
    shares = explained(how.trials, knobs)
    return StudyFacts(
        title=str(study.get("study_name", folder.path.name)),
        place=str(folder.path),
        how=how,
        stop_reason=stop_reason,
        knobs=knobs,
        study=study,
        robust=_robustness(folder, how, study, knobs),
        ruled_out=read_json(folder.ruled_out),
        script=read_json(folder.script),
        explained=shares,
        figures=draw_figures(how, folder.figures, explained_by=shares, predictions=predictions),
        ds_config=_text(folder.best_ds_config) if how.winner is not None else "",
        files={t.number: _there(folder.trial(t.number).path, _OF_A_TRIAL) for t in how.trials},
        others=_there(folder.path, known_files()),
    )


def _there(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Of these files those that are there."""
    return tuple(name for name in names if (folder / name).exists())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _robustness(
    folder: StudyFolder, how: Standing, study: Mapping[str, Any], knobs: Knobs
) -> Robustness | None:
    """Of a study's winner; a plain grid has no space that was written down."""
    winner = how.winner
    won = measurement_of(winner.outcome) if winner is not None else None
    if winner is None or won is None or "space" not in study:
        return None
    peak = won.peak_bytes
    if how.finals is not None:
        peak = peak_bytes(how.finals.rounds, winner.number) or peak

    def is_forbidden(parameter: str, value: str) -> bool:
        name = parameter.lstrip("+")
        having = [t for t in how.trials if knobs.value(t, name) == value]
        return bool(forbidden(name, value, winner, having, knobs))

    return robustness(
        winner,
        how.trials,
        steps={n: v for n, v in study["space"].items() if isinstance(v, list)},
        peak_bytes=peak,
        limit_bytes=winner.memory_limit_bytes or None,
        longest=longest_sequence(read_json(folder.longest_sequence)),
        is_forbidden=is_forbidden,
    )


def _stored_reason(folder: StudyFolder) -> str | None:
    return folder.stop_reason.read_text().strip() if folder.stop_reason.exists() else None
