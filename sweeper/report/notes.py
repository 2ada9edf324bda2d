"""Notes and a picture for Optuna's dashboard: what its tables of numbers do not say of a study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sweeper.core.folder import StudyFolder
from sweeper.core.objective import THROUGHPUT
from sweeper.core.outcome import Crashed, Measured, Stopped, kind_of, measurement_of, reason_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial
from sweeper.errors import masked
from sweeper.report.verdict import verdict
from sweeper.run.study_lock import holder_of
from sweeper.run.study_record import objective_of_study

# Of a crash's log: it is the end that says why.
_MAX_EVIDENCE = 1500


def write_notes(
    folder: StudyFolder, study: Mapping[str, Any], how: Standing, *, storage: Any = None
) -> str | None:
    """Into the study's storage, where there is one (a plain grid has none); returns why they could not be.

    ``storage`` stands for that of study.yaml, which keeps no password.
    """
    if "study_name" not in study:
        return None
    recorded = storage or study.get("storage")
    own = recorded is None
    lock = folder.journal.with_name(f"{folder.journal.name}.lock")
    if own and os.path.lexists(lock) and _is_whole(folder):
        return f"no notes for optuna-dashboard: {lock} is held by a study that runs, or was killed"
    from sweeper.search.dashboard import annotate
    from sweeper.search.optuna_study import load_study
    from sweeper.search.storages import opened_storage

    name = str(study["study_name"])
    where = None if own else opened_storage(recorded)
    if not own and where is None:
        return (
            "no notes for optuna-dashboard: how to reach the study's storage is not kept "
            f"({masked(str(recorded))}); what is in the environment comes from there, a password is typed again"
        )
    loaded = load_study(where, folder.journal, name)
    if loaded is None:
        return None
    refused = annotate(
        loaded,
        note=study_note(how, folder),
        trial_notes={trial.number: _trial_note(trial, how, folder) for trial in how.trials},
        plots=plots(how),
    )
    return f"no notes for optuna-dashboard: {refused}" if refused else None


def _is_whole(folder: StudyFolder) -> bool:
    from sweeper.search.journal import numbers_in

    return numbers_in(folder.journal, None) is not None


def rebuild_journal(folder: StudyFolder, study: Mapping[str, Any]) -> str | None:
    """A study's own journal that is damaged, or lacks trials, anew from its trials; says so.

    A study that runs writes it itself.
    """
    is_kept = "storage" in study or os.path.lexists(folder.journal)
    if "study_name" not in study or study.get("storage") is not None or not is_kept:
        return None
    from sweeper.search.journal import numbers_in, space_of, write_journal

    name = str(study["study_name"])
    wanted = {trial.number for trial in folder.read_trials()}
    there = numbers_in(folder.journal, name)
    if there is not None and wanted <= there:
        return None
    holder, space = holder_of(folder), space_of(study)
    if space is None or (holder is not None and holder.pid != os.getpid()):
        return None
    write_journal(
        folder.journal,
        space=space,
        trials=folder.read_trials(),
        objective=objective_of_study(folder) or THROUGHPUT,
        study_name=name,
    )
    return f"{folder.journal.name} was damaged, and is written anew from the trials"


def study_note(how: Standing, folder: StudyFolder) -> str:
    """The verdict, and where the rest is; in Markdown."""
    lines = [f"**{verdict(how)}**", "", f"Report: `{folder.report}`"]
    if how.winner is not None:
        lines += ["", f"Configuration: `{folder.best_ds_config}`"]
    return "\n".join(lines)


def _trial_note(trial: Trial, how: Standing, folder: StudyFolder) -> str:
    wins = how.winner is not None and trial.number == how.winner.number
    lines = [f"**Trial {trial.number}{', the winner' if wins else ''}**: {_outcome(trial)}"]
    if trial.overrides:
        lines.append(f"`{' '.join(trial.overrides)}`")
    lines += trial.notes
    if isinstance(trial.outcome, Crashed) and trial.outcome.evidence:
        # A fence in the log itself would end ours.
        evidence = trial.outcome.evidence[-_MAX_EVIDENCE:].replace("```", "'''")
        lines.append(f"```\n{evidence}\n```")
    lines.append(f"Files: `{folder.trial(trial.number).path}`")
    return "\n\n".join(lines)


def _outcome(trial: Trial) -> str:
    m = measurement_of(trial.outcome)
    if m is None:
        return f"{kind_of(trial.outcome)}: {reason_of(trial.outcome)}"
    interval = m.tokens_per_second_interval
    said = (
        f"{format_rate(m.tokens_per_second)} tokens/s "
        f"({format_rate(interval.low)} to {format_rate(interval.high)}), "
        f"step {m.median_step_seconds:.3g} s, peak {format_bytes(m.peak_bytes)}"
    )
    stopped = isinstance(trial.outcome, Stopped)
    return f"{said}; stopped: {reason_of(trial.outcome)}" if stopped else said


def plots(how: Standing) -> dict[str, Mapping[str, Any]]:
    """Plotly's JSON of throughput against memory; empty where nothing was measured."""
    kinds = {"measured": Measured, "stopped early": Stopped}
    traces = [
        _points(name, [t for t in how.trials if isinstance(t.outcome, kind)])
        for name, kind in kinds.items()
    ]
    if how.winner is not None:
        traces.append(_points(f"winner (trial {how.winner.number})", [how.winner], symbol="star"))
    traces = [trace for trace in traces if trace["x"]]
    if not traces:
        return {}
    layout = {
        "title": {"text": "Throughput against memory"},
        "xaxis": {"title": {"text": "peak memory of the fullest rank (GiB)"}},
        "yaxis": {"title": {"text": "tokens/s of all ranks"}},
    }
    return {"throughput-memory": {"data": traces, "layout": layout}}


def _points(name: str, trials: list[Trial], symbol: str = "circle") -> dict[str, Any]:
    found = [(t, m) for t in trials if (m := measurement_of(t.outcome)) is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "marker": {"symbol": symbol, "size": 14 if symbol == "star" else 8},
        "x": [round(m.peak_bytes / 2**30, 4) for _, m in found],
        "y": [float(f"{m.tokens_per_second:.6g}") for _, m in found],
        "text": [
            f"trial {t.number}: {' '.join(f'{n}={v}' for n, v in t.point.items()) or 'baseline'}"
            for t, _ in found
        ],
    }
