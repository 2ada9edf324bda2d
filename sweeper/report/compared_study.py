"""A study as one of several that are compared: what it is called, and what its trials show at best."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sweeper.core.folder import StudyFolder
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, measurement_of
from sweeper.core.rounds import measurements, peak_bytes
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial
from sweeper.errors import NothingMeasured, UsageError
from sweeper.run.study_record import how_it_stands, study_document

_TYPE = "type python -m sweeper report results/<study> results/<another>"


@dataclass(frozen=True, kw_only=True)
class ComparedStudy:
    """``label`` tells it from the others; ``place`` is its folder as it was typed."""

    label: str
    place: str
    how: Standing
    study: Mapping[str, Any]

    @property
    def trials(self) -> Sequence[Trial]:
        return self.how.trials

    @property
    def winner(self) -> Trial | None:
        """None where nothing was measured."""
        return self.how.winner

    @property
    def baseline(self) -> Trial:
        return self.how.trials[0]

    @cached_property
    def measured(self) -> Mapping[str, tuple[Trial, Measurement]]:
        """By candidate key; those that were stopped early too."""
        return {t.key: (t, m) for t in self.trials if (m := measurement_of(t.outcome)) is not None}

    @cached_property
    def environments(self) -> Sequence[Mapping[str, Any]]:
        """In which its trials ran, each once."""
        seen = [t.environment for t in self.trials if t.environment]
        found = {repr(sorted(map(str, e.items()))): e for e in seen}
        return [*found.values()] or [self.study.get("environment", {})]

    def rounds(self, trial: Trial) -> list[float]:
        """Tokens/s of each round of the finals in which the trial was measured."""
        finals = self.how.finals
        found: Iterator[Measured] = measurements(finals.rounds if finals else (), trial.number)
        return [m.measurement.tokens_per_second for m in found]

    def best_rate(self, trial: Trial) -> float | None:
        """Tokens/s as they are known best: of the finals, else of the search."""
        finals, m = self.how.finals, measurement_of(trial.outcome)
        again = finals.tokens_per_second(trial.number) if finals else None
        return again or (m.tokens_per_second if m is not None else None)

    def best_peak(self, trial: Trial) -> int | None:
        """Bytes of the fullest rank, likewise."""
        finals, m = self.how.finals, measurement_of(trial.outcome)
        again = peak_bytes(finals.rounds, trial.number) if finals else None
        return again or (m.peak_bytes if m is not None else None)


def compared_studies(typed: Sequence[str]) -> tuple[ComparedStudy, ...]:
    """Reads them. Raises UsageError for the first that is none, NothingMeasured where no trial tells anything."""
    asked = f"report {' '.join(typed)}"
    seen: dict[Path, str] = {}
    for place in typed:
        resolved = Path(place).resolve()
        if not StudyFolder(resolved).trials.is_dir():
            raise UsageError(f"{asked}: there is no study in {place} (no trials/); {_TYPE}")
        if resolved in seen:
            raise UsageError(
                f"{asked}: {place} is the same study as {seen[resolved]}; name each once: {_TYPE}"
            )
        seen[resolved] = place
    names = [str(study_document(StudyFolder(p)).get("study_name", p.name)) for p in seen]
    labels = names if len(set(names)) == len(names) else _by_place(list(seen))
    studies = tuple(_study(p, label, asked) for p, label in zip(typed, labels, strict=True))
    if not any(study.winner for study in studies):
        trials = " and ".join(_trials(len(s.trials), s.place) for s in studies)
        raise NothingMeasured(
            f"{asked}: nothing was measured in any of them ({trials}); type python -m sweeper report "
            f"{typed[0]} for what became of each"
        )
    return studies


def _by_place(paths: Sequence[Path]) -> list[str]:
    """What is behind the folders that they share."""
    shared = Path(os.path.commonpath(paths))
    return [str(p.relative_to(shared)) if p != shared else str(p) for p in paths]


def _study(place: str, label: str, asked: str) -> ComparedStudy:
    folder = StudyFolder(Path(place))
    how = how_it_stands(folder)
    if not how.trials:
        raise NothingMeasured(
            f"{asked}: no trial has ended in {place}; name it when one has: {_TYPE}"
        )
    return ComparedStudy(label=label, place=place, how=how, study=study_document(folder))


def _trials(number: int, place: str) -> str:
    return f"{number} trial{'' if number == 1 else 's'} in {place}"
