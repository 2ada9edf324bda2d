"""Builds everything that is derived of a study: table, figures, report and bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.core.contest_record import lacking_rounds, read_contest, write_contest
from sweeper.core.files import read_json, read_object, read_text, write_text
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import THROUGHPUT
from sweeper.core.outcome import measurement_of
from sweeper.core.robustness import Robustness, longest_sequence, robustness
from sweeper.core.rounds import peak_bytes
from sweeper.core.standing import Standing
from sweeper.errors import UsageError
from sweeper.report.alternatives import forbidden
from sweeper.report.bundle import Export, bundle_of, write_bundle
from sweeper.report.explained import explained
from sweeper.report.failures import Failures
from sweeper.report.figures import draw_figures
from sweeper.report.html import to_html
from sweeper.report.knobs import Knobs, knobs_of
from sweeper.report.markdown import to_markdown
from sweeper.report.notes import rebuild_journal, write_notes
from sweeper.report.page import report_page
from sweeper.report.page.everything import known_files
from sweeper.report.page.facts import FROM_OUTSIDE, StudyFacts
from sweeper.report.parquet import write_parquet
from sweeper.report.table import trials_table
from sweeper.report.verdict import verdict
from sweeper.run.left_out import left_out
from sweeper.run.leftovers import sweep_temporary
from sweeper.run.study_record import how_it_stands, objective_of_study, study_document

# The files of a trial that a reader may want to open.
_OF_A_TRIAL = (
    "spec.json",
    "ds_config.json",
    "command.txt",
    "stdout.log",
    "stderr.log",
    "trial.json",
)


def build_report(
    folder: StudyFolder,
    *,
    stop_reason: str | None = None,
    failures: Failures | None = None,
    storage: Any = None,
) -> str:
    """Writes it all into the study's folder; returns the verdict and where the files are.

    ``storage`` is Optuna's, where that is known better than study.yaml may tell. What cannot be made (a picture, an export) is a line in the report and in what is returned, and costs
    nothing else; ``failures`` are those of what came before. Raises UsageError where no trial has ended yet.
    """
    study, how = study_document(folder), how_it_stands(folder)
    trials = how.trials
    lost = left_out(folder, how.winner)
    if not trials:
        why = f" ({'; '.join(lost)})" if lost else ""
        raise UsageError(f"{folder.path}: no trial of this study has ended{why}; nothing to report")
    sweep_temporary(folder)
    failures = failures or Failures(folder).begin()
    failures.left_out = lost
    failures.attempt(folder.finalists.summary.name, lambda: _write_finals(folder, how), None)
    table = trials_table({folder.name: trials})
    failures.attempt(
        folder.trials_csv.name,
        lambda: write_text(folder.trials_csv, table.to_csv(index=False)),
        None,
    )
    parquet = folder.trials_parquet
    notes = [failures.attempt(parquet.name, lambda: write_parquet(table, parquet), None)]
    journal = folder.journal.name
    notes.append(failures.attempt(journal, lambda: rebuild_journal(folder, study), None))
    best = bundle_of(folder, how, failures)
    ended = stop_reason or _stored_reason(folder) or FROM_OUTSIDE
    facts = _facts(folder, study, how, ended, best, failures)
    _write_pages(folder, facts, failures)
    if stop_reason is not None:
        write_text(folder.stop_reason, stop_reason + "\n")
    known = len(failures.lines)
    write_bundle(folder, best, failures)
    notes.append(
        failures.attempt(
            "notes for optuna-dashboard",
            lambda: write_notes(folder, study, how, storage=storage),
            None,
        )
    )
    if len(failures.lines) > known:
        _write_pages(folder, _as_it_is(folder, facts, best), failures)
    files = [f"report: {folder.report_html} (as text: {folder.report.name})"]
    if folder.best_ds_config.exists():
        files.append(f"config: {folder.best_ds_config}")
    left = [f"note: {line}" for line in lost]
    return "\n".join([verdict(how), *files, *filter(None, notes), *failures.lines, *left])


def _write_finals(folder: StudyFolder, how: Standing) -> None:
    """The summary anew, from the rounds, where it tells of none that is lost."""
    if lacking_rounds(folder.finalists) or folder.finalists.damaged():
        return
    objective = objective_of_study(folder) or THROUGHPUT
    played = read_contest(folder.finalists, baseline=how.trials[0].number, objective=objective)
    if played is not None:
        write_contest(folder.finalists, *played)


def _write_pages(folder: StudyFolder, facts: StudyFacts, failures: Failures) -> None:
    """With all that could not be made so far."""
    page = report_page(facts, failures)
    write_text(folder.report, to_markdown(page, folder.path))
    html = failures.attempt(folder.report_html.name, lambda: to_html(page), None)
    if html is None:
        folder.report_html.unlink(missing_ok=True)
        write_text(folder.report, to_markdown(report_page(facts, failures), folder.path))
    else:
        write_text(folder.report_html, html)


def _facts(
    folder: StudyFolder,
    study: Mapping[str, Any],
    how: Standing,
    stop_reason: str,
    best: Export,
    failures: Failures,
) -> StudyFacts:
    """Draws the figures."""
    predictions = folder.read_predictions()
    knobs = knobs_of(how.trials, study.get("space", {}))
    shares: Mapping[str, float] = failures.attempt(
        "what explains the throughputs", lambda: explained(how.trials, knobs), {}
    )
    return StudyFacts(
        title=str(study.get("study_name", folder.path.name)),
        place=str(folder.path),
        how=how,
        stop_reason=stop_reason,
        knobs=knobs,
        study=study,
        robust=failures.attempt(
            "how robust the winner is", lambda: _robustness(folder, how, study, knobs), None
        ),
        ruled_out=_ruled_out(folder),
        script=read_object(folder.script),
        explained=shares,
        figures=failures.attempt(
            "the pictures",
            lambda: draw_figures(
                how,
                folder.figures,
                explained_by=shares,
                predictions=predictions,
                attempt=failures.attempt,
            ),
            (),
        ),
        ds_config=best.files.get(folder.best_ds_config, ""),
        carried=best.carried,
        bundle=frozenset(best.files),
        files={t.number: _there(folder.trial(t.number).path, _OF_A_TRIAL) for t in how.trials},
        others=tuple(name for name in known_files() if _is_or_will_be(folder, name, best)),
    )


def _as_it_is(folder: StudyFolder, facts: StudyFacts, best: Export) -> StudyFacts:
    """Without what was to be there."""
    return replace(
        facts,
        bundle=frozenset(path for path in best.files if path.exists()),
        others=_there(folder.path, facts.others),
    )


def _is_or_will_be(folder: StudyFolder, name: str, best: Export) -> bool:
    """The winner's files are written after the report."""
    if folder.path / name == folder.best:
        return bool(best.files)
    return (folder.path / name).exists()


def _there(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Of these files those that are there."""
    return tuple(name for name in names if (folder / name).exists())


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


def _ruled_out(folder: StudyFolder) -> Mapping[str, Any] | None:
    """None where it is not known."""
    found = read_object(folder.ruled_out)
    rules = found.get("rules")
    if not isinstance(found.get("space"), int) or not isinstance(rules, dict):
        return None
    whole = all(
        isinstance(rule, dict) and isinstance(rule.get("candidates"), int) and "reason" in rule
        for rule in rules.values()
    )
    return found if whole else None


def _stored_reason(folder: StudyFolder) -> str | None:
    return read_text(folder.stop_reason).strip() or None
