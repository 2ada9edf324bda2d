"""The best few of a study, measured again in turns until one is clearly ahead, or a tie."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sweeper.core.equivalence import ranking
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import Measured, Outcome, kind_of, reason_of
from sweeper.core.ratios import Ratio, is_above_zero
from sweeper.core.rounds import (
    Round,
    log_differences,
    log_rates,
    mean_tokens_per_second,
    measurements,
    peak_bytes,
    spread_of_rounds,
    throughput_ratio,
)
from sweeper.core.trial import Trial

# Of a hundred contests so many may name a winner that is not the fastest.
WRONG_WINNERS = 0.05
# A difference of memory that is smaller than this does not decide a tie: from run to run the same
# configuration's peak differs by a percent or two.
SAME_MEMORY = 0.05

Measure: TypeAlias = Callable[[int, int], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who takes part, by trial number; the baseline too, where it could be measured at all."""

    finalists: tuple[int, ...]
    baseline: int | None
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
    """``gain`` is the winner's throughput over the baseline's, ``lead`` over the runner-up's.

    No winner where every finalist failed. ``failed`` has the reason of each that did so once.
    """

    winner: int | None
    baseline: int | None
    tied_with: tuple[int, ...]
    runner_up: int | None
    failed: Mapping[int, str]
    rounds: tuple[Round, ...]
    gain: Ratio | None
    lead: Ratio | None
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


def finalists_of(
    trials: Sequence[Trial], k: int, objective: Objective = THROUGHPUT
) -> tuple[int, ...]:
    """The numbers of the ``k`` best of the search, the best first; none that trains differently.

    One that was stopped early lost to a single run of another: by more than its steps differed, but a
    process may be slower as a whole than the next one.
    """
    ranked = ranking(trials, objective, stopped_too=True)
    return tuple(trial.number for trial in ranked[:k])


def play(contest: Contest, measure: Measure, recorded: Sequence[Round] = ()) -> FinalistsResult:
    """``measure`` takes a trial's number and the round's, from 1; ``recorded`` is not run again."""
    rounds = complete_rounds(contest, recorded)
    while why_stop(contest, rounds) is None:
        number = len(rounds) + 1
        rounds.append({n: measure(n, number) for n in turns(contest, rounds)})
    return judge(contest, rounds)


def complete_rounds(contest: Contest, recorded: Sequence[Round]) -> list[Round]:
    """Those of ``recorded`` that belong to the contest.

    A round that lacks somebody was interrupted: it is run anew, with all that follows, since only
    what was measured in turns shares its conditions.
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
    able = _able(contest, rounds)
    behind = _behind(contest, rounds)
    due = [n for n in able if n == contest.baseline or n not in behind]
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
    able, behind = _able(contest, rounds), _behind(contest, rounds)
    tied = [n for n in able if n not in behind]
    winner = _frugal(tied, contest, rounds)
    rivals = [n for n in able if n != winner]
    runner_up = _leader(rivals, contest, rounds)
    return FinalistsResult(
        winner=winner,
        baseline=contest.baseline,
        tied_with=tuple(n for n in tied if n != winner),
        runner_up=runner_up,
        failed=_failed(contest, rounds),
        rounds=tuple(rounds),
        gain=None
        if winner == contest.baseline
        else throughput_ratio(rounds, winner, contest.baseline),
        lead=throughput_ratio(rounds, winner, runner_up),
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


def _behind(contest: Contest, rounds: Sequence[Round]) -> set[int]:
    """Those whose distance to the leader is no chance."""
    able = _able(contest, rounds)
    leader = _leader(able, contest, rounds)
    if leader is None or len(rounds) < contest.min_rounds:
        return set()
    return {
        n
        for n in able
        if n != leader and is_above_zero(log_differences(rounds, leader, n), error=contest.error)
    }


def _leader(among: Sequence[int], contest: Contest, rounds: Sequence[Round]) -> int | None:
    """The fastest; of equals the first. None where nobody was measured."""
    reference = _reference(contest, rounds)
    scores = {n: _score(rounds, n, reference) for n in among if any(measurements(rounds, n))}
    return max(scores, key=scores.__getitem__) if scores else among[0] if among else None


def _reference(contest: Contest, rounds: Sequence[Round]) -> int | None:
    """Somebody who was measured in every round, the baseline before others."""
    always = (n for n in contest.entrants if all(isinstance(r.get(n), Measured) for r in rounds))
    return next(always, None)


def _score(rounds: Sequence[Round], number: int, reference: int | None) -> float:
    """Mean log throughput; against the reference's, for those who sat rounds out."""
    if reference is not None:
        return statistics.fmean(log_differences(rounds, number, reference))
    return statistics.fmean(log_rates(rounds, number))


def _same_memory(rounds: Sequence[Round], numbers: Sequence[int]) -> bool:
    peaks = [peak_bytes(rounds, n) or 0 for n in numbers]
    return max(peaks) <= min(peaks) * (1 + SAME_MEMORY)


def _frugal(tied: Sequence[int], contest: Contest, rounds: Sequence[Round]) -> int | None:
    """Of the tied the one with the least memory; where that is the same, the fastest."""
    peaks = {n: peak_bytes(rounds, n) or 0 for n in tied}
    least = [n for n in tied if peaks[n] <= min(peaks.values()) * (1 + SAME_MEMORY)]
    return _leader(least, contest, rounds)
