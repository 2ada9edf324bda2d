"""All that a report is written from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sweeper.core.equivalence import LossDifference, loss_differences, ranking
from sweeper.core.finalists import FinalistsResult
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, measurement_of
from sweeper.core.robustness import Robustness
from sweeper.core.rounds import peak_bytes
from sweeper.core.standing import Standing
from sweeper.core.study import INTERRUPTED
from sweeper.core.trial import Trial
from sweeper.report.figure import Figure
from sweeper.report.knobs import Knobs
from sweeper.report.unequal_work import unequal_work

# The reason of a study that left none.
FROM_OUTSIDE = "it was ended from outside"


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """``study`` is what study.yaml holds, ``ruled_out`` ruled_out.json, ``script`` script.json.

    ``place`` is the study's folder as a person types it; ``ds_config`` the text of the winner's;
    ``carried`` sentences on what it holds beside what was found; ``bundle`` the winner's files that there
    are, None where that is not known; ``explained``: option -> its share in how throughputs differ;
    ``files`` which of a trial's files there are, by its number, ``others`` those of the study.
    """

    title: str
    place: str
    how: Standing
    stop_reason: str
    knobs: Knobs
    study: Mapping[str, Any] = field(default_factory=dict)
    robust: Robustness | None = None
    ruled_out: Mapping[str, Any] | None = None
    script: Mapping[str, Any] | None = None
    explained: Mapping[str, float] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    ds_config: str = ""
    carried: Sequence[str] = ()
    bundle: frozenset[Path] | None = None
    files: Mapping[int, Sequence[str]] = field(default_factory=dict)
    others: Sequence[str] = ()

    @property
    def trials(self) -> Sequence[Trial]:
        return self.how.trials

    @property
    def winner(self) -> Trial | None:
        return self.how.winner

    @property
    def baseline(self) -> Trial:
        return self.how.trials[0]

    @property
    def was_broken_off(self) -> bool:
        """Whether the study had more to do when it ended."""
        return self.stop_reason in (INTERRUPTED, FROM_OUTSIDE)

    @property
    def can_go_on(self) -> bool:
        """A plain grid cannot: nothing says how it was made."""
        return "arguments" in self.study

    @cached_property
    def measured(self) -> tuple[tuple[Trial, Measurement], ...]:
        """Those that were stopped early too, by what their few steps say."""
        return tuple((t, m) for t in self.trials if (m := measurement_of(t.outcome)) is not None)

    @cached_property
    def unequal_work(self) -> tuple[str, ...]:
        """The settings by which trials do other work than others."""
        return unequal_work(self.trials)

    @cached_property
    def able_to_win(self) -> Sequence[Trial]:
        """Those that were measured and train as the first, the best of the search first; estimates too."""
        return ranking(self.trials, self.how.objective, stopped_too=True)

    @cached_property
    def differences(self) -> Mapping[int, LossDifference]:
        """Of the losses, by trial number."""
        return loss_differences(self.trials)

    @property
    def but_for_the_finals(self) -> str:
        """Behind a caption: where numbers of both stand below each other, which is which."""
        return "; in the search, where each ran once, but for the finals" if self.finals else ""

    def differs(self, number: int) -> bool:
        """Whether the trial trains differently: it cannot win, so that it is best of nothing."""
        difference = self.differences.get(number)
        return difference is not None and difference.trains_differently

    @cached_property
    def finals(self) -> FinalistsResult | None:
        """Where there were rounds."""
        finals = self.how.finals
        return finals if finals is not None and finals.rounds else None

    @property
    def decided_by_finals(self) -> bool:
        return (
            self.finals is not None
            and self.winner is not None
            and self.finals.winner == self.winner.number
        )

    @property
    def space_size(self) -> int | None:
        """Of the space that was searched; None without one, or of one that cannot be listed."""
        if self.ruled_out:
            return int(self.ruled_out["space"])
        listed = list(self.study.get("space", {}).values())
        whole = listed and all(isinstance(values, list) for values in listed)
        return math.prod(map(len, listed)) if whole else None

    def best_rate(self, trial: Trial) -> float | None:
        """Tokens/s as we know it best: of the finals, else of the search."""
        again = self.finals.tokens_per_second(trial.number) if self.finals else None
        m = measurement_of(trial.outcome)
        return again or (m.tokens_per_second if m is not None else None)

    def best_peak(self, trial: Trial) -> int | None:
        """The fullest rank's peak bytes, as ``best_rate``."""
        again = peak_bytes(self.finals.rounds, trial.number) if self.finals else None
        m = measurement_of(trial.outcome)
        return again or (m.peak_bytes if m is not None else None)

    @cached_property
    def noise(self) -> float | None:
        """The median over the trials measured to the end of their relative spread from step to step."""
        spreads = [
            m.tokens_per_second_mad / m.tokens_per_second
            for t, m in self.measured
            if isinstance(t.outcome, Measured)
        ]
        return statistics.median(spreads) if spreads else None
