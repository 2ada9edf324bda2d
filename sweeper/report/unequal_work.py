"""Whether trials do the same work: tokens/s of another model, or of longer samples, are other tokens."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.core.equivalence import decides_training
from sweeper.core.trial import Trial


def unequal_work(trials: Iterable[Trial]) -> tuple[str, ...]:
    """The settings that make it another, of which not all trials have the same value."""
    trials = list(trials)
    names = dict.fromkeys(name for trial in trials for name in trial.settings)
    return tuple(
        name
        for name in names
        if decides_training(name) and len({repr(t.settings.get(name)) for t in trials}) > 1
    )
