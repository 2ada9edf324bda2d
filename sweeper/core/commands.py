"""What to type after a study."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from sweeper.core.outcome import Infeasible
from sweeper.core.trial import Trial


def typed(*words: str) -> str:
    """A command as a shell takes it."""
    return f"python -m sweeper {shlex.join(words)}"


def go_on(place: str, *options: str) -> str:
    """Of the study in the folder ``place``, with other ``options`` than it was begun with."""
    return typed(f"resume={place}", *options)


def look_on(place: str, trials: Sequence[Trial]) -> str:
    """As many trials again as were run."""
    run = sum(not isinstance(trial.outcome, Infeasible) for trial in trials)
    return go_on(place, f"hydra.sweeper.n_trials={2 * run}")
