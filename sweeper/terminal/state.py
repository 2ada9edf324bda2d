"""What there is to be seen of a study at one moment: pure data, and how each event changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sweeper.core.finalists import Contest
from sweeper.core.memory.calibration import MemoryEstimate
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import Infeasible, Measured, Unsupported, kind_of, measurement_of
from sweeper.core.standing import standing
from sweeper.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """The trial that runs. ``predicted`` is the memory model's, ``limit_bytes`` 0 where there is none."""

    title: str
    settings: tuple[str, ...]
    began_at: float
    phase: str = "starting"
    step: int | None = None
    steps: int | None = None
    memory_bytes: int | None = None
    predicted: MemoryEstimate | None = None
    limit_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the user allows a study: trials that are run, seconds, and rounds of finals."""

    trials: int
    seconds: float | None = None
    finalists: int = 0
    finalist_rounds: int = 0

    @property
    def final_runs(self) -> int:
        """At most: the finalists and the baseline, in every round."""
        return (self.finalists + 1) * self.finalist_rounds if self.finalists else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finals:
    """``rates`` are tokens/s by round and trial number; None where it was not measured."""

    contest: Contest
    round: int = 1
    rates: Mapping[tuple[int, int], float | None] = field(default_factory=dict)

    @property
    def runs_left(self) -> int:
        """At most, the one in hand included."""
        contest = self.contest
        now = sum((self.round, n) not in self.rates for n in contest.entrants)
        return now + len(contest.entrants) * max(contest.max_rounds - self.round, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Times are of one clock, in seconds. ``budget`` is None outside of a study.

    ``contenders`` are the trials that decide who is best: the first, the first that was measured,
    and the best. ``search_seconds`` and ``final_seconds`` are what each run took.
    """

    began_at: float = 0.0
    budget: Budget | None = None
    objective: Objective = THROUGHPUT
    baseline: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    contenders: tuple[Trial, ...] = ()
    search_seconds: tuple[float, ...] = ()
    final_seconds: tuple[float, ...] = ()
    in_hand: InHand | None = None
    finals: Finals | None = None
    notice: str = ""

    @property
    def best(self) -> Trial | None:
        return standing(self.contenders, self.objective).winner if self.contenders else None


def progressed(state: State, progress: Mapping[str, Any]) -> State:
    """What a rank wrote of itself, as ``run.watching`` hands it on."""
    if state.in_hand is None:
        return state
    in_hand = replace(
        state.in_hand,
        phase=str(progress.get("phase", state.in_hand.phase)),
        step=progress.get("step"),
        steps=progress.get("of"),
        memory_bytes=progress.get("memory_bytes") or state.in_hand.memory_bytes,
    )
    return replace(state, in_hand=in_hand)


def ended(state: State, trial: Trial) -> State:
    """A trial of the search has ended, or was ruled out."""
    kind = kind_of(trial.outcome)
    was_run = not isinstance(trial.outcome, Infeasible | Unsupported)
    seconds = (trial.wall_seconds,) if was_run else ()
    return replace(
        state,
        counts={**state.counts, kind: state.counts.get(kind, 0) + 1},
        contenders=_contenders(state, trial),
        search_seconds=(*state.search_seconds, *seconds),
        in_hand=None,
    )


def final_ended(state: State, trial: Trial, round_number: int) -> State:
    """A finalist was measured once more."""
    finals = state.finals
    if finals is not None:
        is_measured = isinstance(trial.outcome, Measured)
        m = measurement_of(trial.outcome) if is_measured else None
        rate = None if m is None else m.tokens_per_second
        finals = replace(finals, rates={**finals.rates, (round_number, trial.number): rate})
    return replace(
        state,
        finals=finals,
        final_seconds=(*state.final_seconds, trial.wall_seconds),
        in_hand=None,
    )


def contest_began(state: State, contest: Contest) -> State:
    """The finals of a study, or a verification."""
    return replace(state, finals=Finals(contest=contest), in_hand=None)


def gain_of(state: State, trial: Trial) -> float | None:
    """Its tokens/s over the baseline's; None where one of the two was not measured, or for the baseline."""
    first = state.contenders[0] if state.contenders else trial
    ours, theirs = measurement_of(trial.outcome), measurement_of(first.outcome)
    if first.number != 0 or trial.number == 0 or ours is None or theirs is None:
        return None
    return ours.tokens_per_second / theirs.tokens_per_second


def _contenders(state: State, trial: Trial) -> tuple[Trial, ...]:
    """A few trials have the same winner as all of them together, and are ranked sooner."""
    if state.contenders and measurement_of(trial.outcome) is None:
        return state.contenders
    among = (*state.contenders, trial)
    reference = next((t for t in among if measurement_of(t.outcome) is not None), None)
    best = standing(among, state.objective).winner
    kept = {t.number: t for t in (among[0], reference, best) if t is not None}
    return tuple(kept.values())
