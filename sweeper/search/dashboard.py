"""What optuna-dashboard shows of a study beside its numbers: notes, plots and constraints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna

# Keys and length are optuna-dashboard's (0.14 to 0.21).
_MAX_LENGTH = 2045
_PLOT = "dashboard:plot_data:"
# It counts a note's version up with each edit: a later one is somebody's own words.
_OUR_VERSION = 1


def constraints(violation: float) -> dict[str, list[float]]:
    """As an attribute of a trial: the list, which Optuna reads as it does named ones, and the dashboard alone."""
    return {"constraints": [violation]}


def set_constraint(trial: optuna.trial.Trial, violation: float) -> None:
    """Of a trial that Optuna asked for."""
    for name, value in constraints(violation).items():
        trial.storage.set_trial_system_attr(trial._trial_id, name, value)


def annotate(
    study: optuna.study.Study,
    *,
    note: str,
    trial_notes: Mapping[int, str],
    plots: Mapping[str, Mapping[str, Any]],
) -> str | None:
    """Writes what is new of it; returns why it could not. ``trial_notes`` go by our numbers; plots are plotly's JSON, by name.

    A note that somebody has edited in the dashboard is left as it is.
    """
    attributes = _Attributes(study)
    try:
        attributes.put_note("dashboard:", note)
        for trial in study.get_trials(deepcopy=False):
            body = trial_notes.get(trial.user_attrs.get("trial", -1))
            if body is not None:
                attributes.put_note(f"dashboard:{trial._trial_id}:", body)
        for name, figure in plots.items():
            attributes.put_text(f"{_PLOT}{name}:", json.dumps(figure))
    except (OSError, optuna.exceptions.StorageInternalError) as error:
        return str(error).splitlines()[0]  # a storage that may only be read
    return None


class _Attributes:
    """Optuna's own of a study: a write takes a millisecond, so what is there already is not written."""

    def __init__(self, study: optuna.study.Study) -> None:
        self._storage, self._study_id = study._storage, study._study_id
        self._there = dict(self._storage.get_study_system_attrs(self._study_id))

    def put_note(self, owner: str, body: str) -> None:
        version = f"{owner}note_ver"
        if self._there.get(version, _OUR_VERSION) == _OUR_VERSION:
            self._put(version, _OUR_VERSION)
            self.put_text(f"{owner}note_str:", body)

    def put_text(self, prefix: str, text: str) -> None:
        """In numbered pieces; those of a longer text before it are emptied, since all are joined."""
        pieces = range(0, len(text), _MAX_LENGTH)
        for number, start in enumerate(pieces):
            self._put(f"{prefix}{number}", text[start : start + _MAX_LENGTH])
        number = len(pieces)
        while f"{prefix}{number}" in self._there:
            self._put(f"{prefix}{number}", "")
            number += 1

    def _put(self, key: str, value: Any) -> None:
        if self._there.get(key) != value:
            self._storage.set_study_system_attr(self._study_id, key, value)
            self._there[key] = value
