"""What a study's folder says of it: how it was made, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from sweeper.core.contest_record import read_contest
from sweeper.core.finalists import FinalistsResult
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import THROUGHPUT, Objective, objective_from_mapping
from sweeper.core.standing import Standing, standing


def study_document(folder: StudyFolder) -> Mapping[str, Any]:
    """What study.yaml holds; empty where there is none, as for a plain grid."""
    if not folder.study.exists():
        return {}
    loaded = yaml.safe_load(folder.study.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}


def how_it_stands(folder: StudyFolder) -> Standing:
    """By the study's own objective, and by its finals where there were some."""
    objective = _objective(study_document(folder))
    return standing(folder.read_trials(), objective, _finals(folder))


def _objective(study: Mapping[str, Any]) -> Objective:
    values = study.get("config", {}).get("objective")
    return objective_from_mapping(values) if values else THROUGHPUT


def _finals(folder: StudyFolder) -> FinalistsResult | None:
    recorded = read_contest(folder.finalists)
    return recorded[1] if recorded is not None else None
