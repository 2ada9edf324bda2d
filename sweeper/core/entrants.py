"""Who of a search is measured again in its finals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sweeper.core.equivalence import ranking
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import measurement_of
from sweeper.core.trial import Trial


def finalists_of(
    trials: Sequence[Trial], k: int, objective: Objective = THROUGHPUT
) -> tuple[int, ...]:
    """The numbers of the ``k`` best of the search, the best first; none that trains differently.

    Of a Pareto front all: each of them is the best for somebody. One that was stopped early lost to a single run of another: by more than its steps differed, but a
    process may be slower as a whole than the next one.
    """
    objective = objective.beside(trials[0]) if trials else objective
    ranked = ranking(trials, objective, stopped_too=True)
    if objective.kind == "pareto" and k:
        return tuple(trial.number for trial in _front(ranked))
    return tuple(trial.number for trial in ranked[:k])


def _front(ranked: Sequence[Trial]) -> Iterator[Trial]:
    """Of trials by falling throughput those that need less memory than all before."""
    least = math.inf
    for trial in ranked:
        m = measurement_of(trial.outcome)
        if m is not None and m.peak_bytes < least:
            least = m.peak_bytes
            yield trial
