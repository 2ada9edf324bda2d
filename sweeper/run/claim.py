"""What a study said of its winner, so that it can be measured once more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.core.finalists import FinalistsResult
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import measurement_of
from sweeper.core.ratios import Ratio, ratio_of
from sweeper.core.rounds import Round, log_differences, peak_bytes
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial
from sweeper.errors import UsageError
from sweeper.run.left_out import type_resume
from sweeper.run.study_record import how_it_stands, is_lost, objective_of_study, was_a_study

_TYPE = "type python -m sweeper verify results/<study>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """``objective`` decided; ``was`` is the gain in words, ``peak_bytes`` the winner's."""

    winner: Trial
    baseline: Trial
    objective: Objective
    was: str
    peak_bytes: int


def claim_of(folder: StudyFolder, typed: str) -> Claim:
    """Of the winner that the report names. Raises UsageError where the study does not tell it for sure."""
    if not folder.trials.is_dir():
        raise UsageError(f"verify {typed}: there is no study in this folder (no trials/); {_TYPE}")
    objective = objective_of_study(folder)
    if objective is None and was_a_study(folder):
        raise UsageError(
            f"{folder.study}: what the study was after is not known, so that its winner is not; "
            f"{type_resume(folder)}"
        )
    how = how_it_stands(folder)
    if not how.trials or how.trials[0].number != 0 or is_lost(how.trials[0]):
        raise UsageError(
            f"verify {typed}: the baseline (trial 0) of this study has not ended, or lost its record; "
            f"go on with it: {type_resume(folder)}"
        )
    if how.winner is None:
        raise UsageError(
            f"verify {typed}: this study has no winner, none of its {len(how.trials)} trials was "
            "measured; type python -m sweeper ... hydra/sweeper=optuna for a new one"
        )
    if how.finals is not None and how.finals.winner == how.winner.number:
        return _of_the_finals(how.winner, how.trials[0], how.finals)
    return _of_the_search(how, how.winner, objective or THROUGHPUT)


def log_gains(
    objective: Objective, rounds: Sequence[Round], winner: int, baseline: int
) -> list[float]:
    """Of each round, the logarithm of what decides, over the baseline's: tokens/s, or bytes."""
    if objective.kind == "memory":
        return log_differences(rounds, baseline, winner, objective)
    return log_differences(rounds, winner, baseline, objective)


def gain_of(
    objective: Objective, rounds: Sequence[Round], winner: int, baseline: int
) -> Ratio | None:
    """The same as a ratio: above 1 the winner is ahead, of memory below 1."""
    return ratio_of(log_gains(objective, rounds, winner, baseline))


def _of_the_finals(winner: Trial, baseline: Trial, finals: FinalistsResult) -> Claim:
    gain = gain_of(finals.objective, finals.rounds, winner.number, baseline.number)
    return Claim(
        winner=winner,
        baseline=baseline,
        objective=finals.objective,
        was=f"was {gain}" if gain else "was not told",
        peak_bytes=peak_bytes(finals.rounds, winner.number) or 0,
    )


def _of_the_search(how: Standing, winner: Trial, objective: Objective) -> Claim:
    """Where nobody reached the floor of memory, it was the fastest that won."""
    baseline, m = how.trials[0], measurement_of(winner.outcome)
    assert m is not None
    decided = objective if how.objective.shortfall(m) <= 0 else THROUGHPUT
    once = [{baseline.number: baseline.outcome, winner.number: winner.outcome}]
    gains = log_gains(decided, once, winner.number, baseline.number)
    was = f"was {math.exp(gains[0]):.2f} in the search, where each ran once" if gains else ""
    return Claim(
        winner=winner,
        baseline=baseline,
        objective=decided,
        was=was or "was not told",
        peak_bytes=m.peak_bytes,
    )
