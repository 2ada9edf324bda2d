"""What a study's folder says of it: how it was made, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from sweeper.core.contest_record import read_contest
from sweeper.core.folder import WHAT_TO_DO, StudyFolder
from sweeper.core.objective import THROUGHPUT, Objective, objective_from_mapping
from sweeper.core.standing import Standing, standing
from sweeper.errors import UsageError


def study_document(folder: StudyFolder) -> Mapping[str, Any]:
    """What study.yaml holds; empty where there is none, as for a plain grid.

    Raises UsageError for one that cannot be read.
    """
    try:
        loaded = yaml.safe_load(folder.study.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder.study}: not whole; {WHAT_TO_DO}") from error
    return loaded if isinstance(loaded, dict) else {}


def recorded_objective(study: Mapping[str, Any]) -> Objective | None:
    """None where the document says nothing of it, as that of a plain grid."""
    values = (study.get("config") or {}).get("objective")
    return objective_from_mapping(values) if values else None


def how_it_stands(folder: StudyFolder) -> Standing:
    """By the study's own objective, and by its finals where there were some.

    Raises UsageError where what decides it is not whole.
    """
    objective = recorded_objective(study_document(folder)) or THROUGHPUT
    trials, contest = folder.read_trials(), read_contest(folder.finalists)
    finals = contest[1] if contest is not None else None
    won = finals.winner if finals is not None else None
    if won is not None and won not in {trial.number for trial in trials}:
        raise UsageError(
            f"{folder.trial(won).trial}: missing, and trial {won} won the finals of this study; "
            f"{WHAT_TO_DO}"
        )
    return standing(trials, objective, finals)
