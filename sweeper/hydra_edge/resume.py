"""Going on with a study that was ended: what it was, what has changed, what is left over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.space import Point
from sweeper.errors import UsageError
from sweeper.run.processes import Family
from sweeper.run.study_lock import check_nobody_writes
from sweeper.run.study_record import how_it_stands, study_document

# A machine of the same kind is as good; the rest decides what a number means.
_NOT_COMPARED = ("host",)
_COMPARED_CONFIG = ("model", "workload", "optimizer", "hardware", "measure", "objective")


def original_arguments(typed: str) -> list[str]:
    """The command line that made the study in the folder ``typed``, so that it goes on there.

    Raises UsageError where there is no study, one that is running, or a record that cannot be read.
    """
    folder = StudyFolder(Path(typed))
    check_nobody_writes(folder, f"resume={typed}")
    study = study_document(folder)
    if "arguments" not in study:
        raise UsageError(
            f"resume={typed}: there is no study in this folder; type resume=results/<study>"
        )
    how_it_stands(folder)
    kept = [a for a in study["arguments"] if not a.startswith("hydra.sweep.dir=")]
    return [*kept, f"hydra.sweep.dir='{folder.path}'", "hydra.sweeper.resume=true"]


def check_unchanged(
    folder: StudyFolder, config: Mapping[str, Any], environment: Mapping[str, Any]
) -> None:
    """Raises UsageError naming what has changed since the study began: its numbers would not compare."""
    study = study_document(folder)
    changes = [
        *_changes(study.get("environment", {}), environment, _NOT_COMPARED),
        *(
            change
            for group in _COMPARED_CONFIG
            for change in _changes(
                study.get("config", {}).get(group, {}), config.get(group, {}), (), f"{group}."
            )
        ),
    ]
    if changes:
        raise UsageError(
            f"{folder.path} was measured under other conditions: {'; '.join(changes)}; type "
            f"{' '.join(['python -m sweeper', *study.get('arguments', [])])} "
            f"hydra.sweeper.warm_start={folder.path} for a new study that learns from it"
        )


def clear_unfinished(folder: StudyFolder) -> Point | None:
    """Ends what is left of the trial in flight and removes its files; returns what it was trying."""
    pending: Point | None = None
    for trial in folder.unfinished():
        Family(trial.mark, list).end()
        document = read_json(trial.pending)
        if isinstance(document, dict):
            pending = document["point"]
        shutil.rmtree(trial.path)
    return pending


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], left_out: Sequence[str], prefix: str = ""
) -> Iterator[str]:
    for name in dict.fromkeys([*before, *now]):
        if name not in left_out and before.get(name) != now.get(name):
            yield f"{prefix}{name} was {before.get(name)}, is {now.get(name)}"
