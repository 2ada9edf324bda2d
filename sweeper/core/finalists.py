"""The best few of a study, measured again in turns until one is clearly ahead, or a tie."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import Measured, Outcome, kind_of, reason_of
from sweeper.core.ratios import Ratio, is_above_zero
from sweeper.core.rounds import (
    Round,
    log_differences,
    log_over_floor,
    mean_tokens_per_second,
    measurements,
    peak_bytes,
    spread_of_rounds,
    throughput_ratio,
    worth_ratio,
)

# Of a hundred contests so many may name a winner that is not the fastest.
WRONG_WINNERS = 0.05
# A difference of memory that is smaller than this does not decide a tie: from run to run the same
# configuration's peak differs by a percent or two.
SAME_MEMORY = 0.05

Measure: TypeAlias = Callable[[int, int], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who takes part, by trial number; the baseline too, where it could be measured at all.

    What is best is the objective's; a floor of memory that was not typed is the baseline's throughput.
    """

    finalists: tuple[int, ...]
    baseline: int | None
    objective: Objective = THROUGHPUT
    min_rounds: int = 3
    max_rounds: int = 6

    @property
    def entrants(self) -> tuple[int, ...]:
        first = () if self.baseline is None else (self.baseline,)
        return tuple(dict.fromkeys([*first, *self.finalists]))

    @property
    def error(self) -> float:
        """Of one comparison: all looks at all rivals share ``WRONG_WINNERS`` (Bonferroni)."""
        looks = self.max_rounds - self.min_rounds + 1
        rivals = max(len(self.entrants) - 1, 1)
        return min(WRONG_WINNERS / 2, WRONG_WINNERS / (looks * rivals))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalistsResult:
    """``gain`` is the winner's throughput over the baseline's.

    ``objective`` is what decided: the contest's, or throughput where nobody reached the floor of memory;
    ``below`` are those that did not. By it the winner is ``advantage`` times better than the baseline and
    ``lead`` times than the runner-up. No winner where every finalist failed; ``failed`` has each one's reason.
    """

    winner: int | None
    baseline: int | None
    tied_with: tuple[int, ...]
    runner_up: int | None
    failed: Mapping[int, str]
    rounds: tuple[Round, ...]
    gain: Ratio | None
    advantage: Ratio | None
    lead: Ratio | None
    objective: Objective
    below: tuple[int, ...]
    stop_reason: str

    @property
    def taken_for_memory(self) -> bool:
        """Whether a tie was decided by it: else the winner is ahead by a difference that is no proof."""
        return not _same_memory(self.rounds, (self.winner or 0, *self.tied_with))

    def tokens_per_second(self, number: int) -> float | None:
        """The mean of its rounds, beside the winner's: over another's it is their printed ratio."""
        return mean_tokens_per_second(self.rounds, number, self.winner)

    def spread(self, number: int) -> float | None:
        """From round to round, as a share of it."""
        return spread_of_rounds(self.rounds, number)


def play(contest: Contest, measure: Measure, recorded: Sequence[Round] = ()) -> FinalistsResult:
    """``measure`` takes a trial's number and the round's, from 1.

    What is whole of ``recorded`` is not run again, also behind a round that is not.
    """
    rounds: list[Round] = []
    while why_stop(contest, rounds) is None:
        due = turns(contest, rounds)
        known = recorded[len(rounds)] if len(rounds) < len(recorded) else {}
        if set(due) <= set(known):
            rounds.append({n: known[n] for n in due})
        else:
            number = len(rounds) + 1
            rounds.append({n: measure(n, number) for n in due})
    return judge(contest, rounds)


def complete_rounds(contest: Contest, recorded: Sequence[Round]) -> list[Round]:
    """Those of ``recorded`` that belong to the contest.

    A round that lacks somebody was interrupted, or lost a record: it is run anew, since only what was
    measured in turns shares its conditions.
    """
    rounds: list[Round] = []
    for found in recorded:
        due = turns(contest, rounds)
        if why_stop(contest, rounds) is not None or not set(due) <= set(found):
            break
        rounds.append({number: found[number] for number in due})
    return rounds


def turns(contest: Contest, rounds: Sequence[Round]) -> tuple[int, ...]:
    """Who is measured in the next round, in order: every other round goes backwards (ABBA).

    What drifts steadily then weighs on all alike. Who is clearly behind sits out, but for the
    baseline: the gain needs it.
    """
    behind = _behind(contest, rounds)
    due = [n for n in _able(contest, rounds) if n == contest.baseline or n not in behind]
    return tuple(due if len(rounds) % 2 == 0 else reversed(due))


def why_stop(contest: Contest, rounds: Sequence[Round]) -> str | None:
    """None while another round can tell more."""
    able = _able(contest, rounds)
    if not able:
        return "every finalist failed"
    if len(able) == 1:
        return "there is nothing to compare with" if not rounds else "all others failed"
    if len(rounds) < contest.min_rounds:
        return None
    if len(_behind(contest, rounds)) == len(able) - 1:
        return f"the lead was clear after {len(rounds)} rounds"
    if len(rounds) >= contest.max_rounds:
        return f"{len(rounds)} rounds were run, the most that are allowed"
    return None


def judge(contest: Contest, rounds: Sequence[Round]) -> FinalistsResult:
    """What the rounds say; nothing that the search measured is used."""
    (field, objective), behind = _field(contest, rounds), _behind(contest, rounds)
    tied = [n for n in field if n not in behind]
    winner = _frugal(tied, contest, rounds)
    rival = contest.baseline if winner != contest.baseline else None
    runner_up = _leader([n for n in field if n != winner], contest, rounds, objective)
    return FinalistsResult(
        winner=winner,
        baseline=contest.baseline,
        tied_with=tuple(n for n in tied if n != winner),
        runner_up=runner_up,
        failed=_failed(contest, rounds),
        rounds=tuple(rounds),
        gain=throughput_ratio(rounds, winner, rival),
        advantage=worth_ratio(rounds, winner, rival, objective),
        lead=worth_ratio(rounds, winner, runner_up, objective),
        objective=objective,
        below=tuple(n for n in _able(contest, rounds) if not _reaches(contest, rounds, n)),
        stop_reason=why_stop(contest, rounds) or "it was interrupted",
    )


def _failed(contest: Contest, rounds: Sequence[Round]) -> dict[int, str]:
    """A configuration that fails once in a while must not win."""
    return {
        n: f"{kind_of(outcome)} in round {number}: {reason_of(outcome)}"
        for number, found in reversed(list(enumerate(rounds, start=1)))
        for n, outcome in found.items()
        if n in contest.entrants and not isinstance(outcome, Measured)
    }


def _able(contest: Contest, rounds: Sequence[Round]) -> list[int]:
    failed = _failed(contest, rounds)
    return [n for n in contest.entrants if n not in failed]


def _reaches(contest: Contest, rounds: Sequence[Round], number: int) -> bool:
    over = log_over_floor(rounds, number, contest.objective, contest.baseline)
    return not over or statistics.fmean(over) >= 0


def _field(contest: Contest, rounds: Sequence[Round]) -> tuple[list[int], Objective]:
    """Who may win, and by what; where nobody reaches the floor of memory, all by their throughput."""
    able = _able(contest, rounds)
    field = [n for n in able if _reaches(contest, rounds, n)]
    return (field, contest.objective) if field else (able, THROUGHPUT)


def _behind(contest: Contest, rounds: Sequence[Round]) -> set[int]:
    """Those whose distance to the leader, or to the floor, is no chance."""
    field, objective = _field(contest, rounds)
    leader = _leader(field, contest, rounds, objective)
    if leader is None or len(rounds) < contest.min_rounds:
        return set()
    slack = math.log1p(SAME_MEMORY) if objective.kind == "memory" else 0.0

    def is_behind(n: int) -> bool:
        ahead = [d - slack for d in log_differences(rounds, leader, n, objective)]
        short = [-d for d in log_over_floor(rounds, n, objective, contest.baseline)]
        return any(is_above_zero(found, error=contest.error) for found in (ahead, short))

    return {n for n in _able(contest, rounds) if n != leader and is_behind(n)}


def _leader(
    among: Sequence[int], contest: Contest, rounds: Sequence[Round], objective: Objective
) -> int | None:
    """The best; of equals the first. None where nobody was measured."""
    reference = _reference(contest, rounds)
    ran = [n for n in among if any(measurements(rounds, n))]
    scores = {n: _score(rounds, n, reference, objective) for n in ran}
    return max(scores, key=scores.__getitem__) if scores else among[0] if among else None


def _reference(contest: Contest, rounds: Sequence[Round]) -> int | None:
    """Somebody who was measured in every round, the baseline before others."""
    always = (n for n in contest.entrants if all(isinstance(r.get(n), Measured) for r in rounds))
    return next(always, None)


def _score(
    rounds: Sequence[Round], number: int, reference: int | None, objective: Objective
) -> float:
    """Mean worth; against the reference's, for those who sat rounds out."""
    if reference is not None:
        return statistics.fmean(log_differences(rounds, number, reference, objective))
    return statistics.fmean(objective.worth(m.measurement) for m in measurements(rounds, number))


def _same_memory(rounds: Sequence[Round], numbers: Sequence[int]) -> bool:
    peaks = [peak_bytes(rounds, n) or 0 for n in numbers]
    return max(peaks) <= min(peaks) * (1 + SAME_MEMORY)


def _frugal(tied: Sequence[int], contest: Contest, rounds: Sequence[Round]) -> int | None:
    """Of the tied the one with the least memory; of those with the same the fastest, or cheapest."""
    peaks = {n: peak_bytes(rounds, n) or 0 for n in tied}
    least = [n for n in tied if peaks[n] <= min(peaks.values()) * (1 + SAME_MEMORY)]
    by = contest.objective if contest.objective.kind == "cost" else THROUGHPUT
    return _leader(least, contest, rounds, by)
