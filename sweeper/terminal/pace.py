"""How long a study will take: before its first trial what can be said of it, then what its trials took."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from sweeper.terminal.state import Budget, State

# What starting and ending a trial takes beside its steps and its model, and the first one more than
# the others: measured, docs/benchmarks.md, "Cost of a trial".
FIXED_SECONDS = {"warm": 0.5, "torchrun": 5.2, "deepspeed": 8.1}
_FIRST_SECONDS = 3.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Seconds; ``finals`` at most: they end as soon as one is clearly ahead."""

    search: float
    finals: float


def before_the_first(budget: Budget, *, runner: str, max_seconds: float) -> str:
    """``max_seconds`` is what a trial's timed steps may take."""
    fixed = FIXED_SECONDS.get(runner, max(FIXED_SECONDS.values()))
    search = budget.trials * (fixed + max_seconds) + _FIRST_SECONDS
    said = f"up to about {in_words(_within(budget.seconds, search))} of search"
    if budget.final_runs:
        said += f" and {in_words(budget.final_runs * (fixed + max_seconds))} of finals"
    return f"{said}; building and warming up come on top, and are known after the first trials"


def left(state: State, now: float) -> Left | None:
    """None where nothing has been run that tells it."""
    if state.budget is None or not state.search_seconds:
        return None
    spent = now - state.in_hand.began_at if state.in_hand is not None else 0.0
    final_mean = statistics.fmean(state.final_seconds or _later(state.search_seconds))
    if state.finals is not None:
        finals = max(state.finals.runs_left * final_mean - spent, 0.0)
        return Left(search=0.0, finals=finals)
    mean = statistics.fmean(_later(state.search_seconds))
    runs = max(state.budget.trials - len(state.search_seconds), 0)
    search = max(runs * mean - min(spent, mean), 0.0)
    if state.budget.seconds is not None:
        search = min(search, max(state.budget.seconds - (now - state.began_at), 0.0))
    return Left(search=search, finals=state.budget.final_runs * final_mean)


def in_words(seconds: float) -> str:
    """``"25 s"``, ``"3 min"``, ``"1 h 20 min"``: no more digits than a forecast has."""
    if seconds < 57.5:
        return f"{max(5 * round(seconds / 5), 5)} s"
    minutes = max(round(seconds / 60), 1)
    if minutes < 60:
        return f"{minutes} min"
    minutes = 10 * round(minutes / 10) if minutes < 600 else 60 * round(minutes / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _later(seconds: tuple[float, ...]) -> tuple[float, ...]:
    """The first trial also starts what the others are forked from."""
    return seconds[1:] or seconds


def _within(limit: float | None, seconds: float) -> float:
    return seconds if limit is None else min(limit, seconds)
