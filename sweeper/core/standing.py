"""How a study stands: who is the winner, of the finals or of the search alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.core.equivalence import best_trial
from sweeper.core.finalists import FinalistsResult
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a study stands: ``winner`` is that of the finals, else the search's best; None without one.

    Of a plain grid the first trial is its first point, and not the user's own options.
    """

    trials: Sequence[Trial]
    objective: Objective
    finals: FinalistsResult | None
    winner: Trial | None
    of_a_grid: bool = False


def standing(
    trials: Sequence[Trial],
    objective: Objective = THROUGHPUT,
    finals: FinalistsResult | None = None,
) -> Standing:
    """Judges what was measured."""
    searched = objective.beside(trials[0]) if trials else objective
    winner = best_trial(trials, searched)
    if winner is None or finals is None or finals.winner is None:
        return Standing(trials=trials, objective=searched, finals=finals, winner=winner)
    return Standing(
        trials=trials,
        objective=_beside_the_finals(objective, finals) or searched,
        finals=finals,
        winner=next((t for t in trials if t.number == finals.winner), winner),
    )


def _beside_the_finals(objective: Objective, finals: FinalistsResult) -> Objective | None:
    """A floor that was not typed is what the baseline reached there; None where it was not measured."""
    rate = None if finals.baseline is None else finals.tokens_per_second(finals.baseline)
    return objective.with_floor(rate) if rate else None
