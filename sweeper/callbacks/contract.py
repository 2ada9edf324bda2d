"""What a callback is, and what it is told: plain records, so that one needs nothing of a study's inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyBegun:
    """``facts`` are its model, machine and versions."""

    name: str
    folder: Path
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """``parameters`` are the main settings and those that differ from the baseline's (trial 0).

    ``metrics`` are named as the columns of the table of trials, and empty where it ``failed``;
    ``tags`` are outcome, reason, options and environment; times are seconds since 1970.
    """

    number: int
    name: str
    parameters: Mapping[str, str | int | float | bool]
    metrics: Mapping[str, float]
    step_seconds: tuple[float, ...]
    tags: Mapping[str, str]
    failed: bool
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEnded:
    """``files`` are the report and the table, ``best`` the winner's folder; None without a winner."""

    verdict: str
    metrics: Mapping[str, float]
    files: tuple[Path, ...]
    best: Path | None


class Callback(Protocol):
    """Made before the first trial; what it raises from then on leaves it out, and the study goes on."""

    def begin(self, study: StudyBegun) -> None:
        """Before the first trial."""

    def trial(self, trial: TrialEnded) -> None:
        """After each trial, failed ones too, and between two: its time is nobody's step time."""

    def end(self, study: StudyEnded) -> None:
        """Once the report is written, also of a study that was interrupted."""
