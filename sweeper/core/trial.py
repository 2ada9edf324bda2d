"""A trial: a candidate that was planned or run, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.core.outcome import Outcome, outcome_from_json, outcome_to_json
from sweeper.core.plan import Plan
from sweeper.core.settings import Settings
from sweeper.core.shape import check_fields, check_flat
from sweeper.core.space import Point

TRIAL_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """``point`` is what a study proposed; ``settings`` are the acting settings under their dotted names; ``started_at`` is seconds since 1970."""

    number: int
    key: str
    point: Mapping[str, str]
    overrides: tuple[str, ...]
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    memory_limit_bytes: int
    outcome: Outcome
    started_at: float
    wall_seconds: float
    environment: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": TRIAL_SCHEMA,
            "number": self.number,
            "key": self.key,
            "point": dict(self.point),
            "overrides": list(self.overrides),
            "settings": dict(self.settings),
            "notes": list(self.notes),
            "memory_limit_bytes": self.memory_limit_bytes,
            "outcome": outcome_to_json(self.outcome),
            "started_at": self.started_at,
            "wall_seconds": self.wall_seconds,
            "environment": dict(self.environment),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Trial:
        """Raises ValueError for a document of another schema, or as ``outcome_from_json``."""
        if document.get("schema_version") != TRIAL_SCHEMA:
            raise ValueError(
                f"trial has schema_version={document.get('schema_version')},"
                f" this sweeper reads {TRIAL_SCHEMA}"
            )
        trial = Trial(
            number=document["number"],
            key=document["key"],
            point=document["point"],
            overrides=tuple(document["overrides"]),
            settings=document["settings"],
            notes=tuple(document["notes"]),
            memory_limit_bytes=document["memory_limit_bytes"],
            outcome=outcome_from_json(document["outcome"]),
            started_at=document["started_at"],
            wall_seconds=document["wall_seconds"],
            environment=document["environment"],
        )
        check_fields(trial)
        check_flat(Settings, trial.settings)
        return trial


def trial_of_plan(
    planned: Plan,
    outcome: Outcome,
    *,
    number: int,
    point: Point,
    overrides: Sequence[str],
    memory_limit_bytes: int,
    started_at: float = 0.0,
    wall_seconds: float = 0.0,
    environment: Mapping[str, Any] | None = None,
) -> Trial:
    """A planned candidate and what became of it."""
    return Trial(
        number=number,
        key=planned.key,
        point=dict(point),
        overrides=tuple(overrides),
        settings=planned.settings.flat(),
        notes=planned.notes,
        memory_limit_bytes=memory_limit_bytes,
        outcome=outcome,
        started_at=started_at,
        wall_seconds=wall_seconds,
        environment=environment or {},
    )
