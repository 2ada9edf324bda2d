"""A trial: a candidate that was planned or run, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.core.outcome import Measured, Outcome, outcome_from_json, outcome_to_json

TRIAL_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """``settings`` are the acting settings under their dotted names; ``started_at`` is seconds since 1970."""

    number: int
    key: str
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
        """Raises ValueError for a document of another schema."""
        if document.get("schema_version") != TRIAL_SCHEMA:
            raise ValueError(
                f"trial has schema_version={document.get('schema_version')},"
                f" this sweeper reads {TRIAL_SCHEMA}"
            )
        return Trial(
            number=document["number"],
            key=document["key"],
            overrides=tuple(document["overrides"]),
            settings=document["settings"],
            notes=tuple(document["notes"]),
            memory_limit_bytes=document["memory_limit_bytes"],
            outcome=outcome_from_json(document["outcome"]),
            started_at=document["started_at"],
            wall_seconds=document["wall_seconds"],
            environment=document["environment"],
        )


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The measured trial with the most tokens/s; of equals the one with less memory, then the earlier."""
    measured = [(t.outcome.measurement, t) for t in trials if isinstance(t.outcome, Measured)]
    if not measured:
        return None
    return min(measured, key=lambda p: (-p[0].tokens_per_second, p[0].peak_bytes, p[1].number))[1]
