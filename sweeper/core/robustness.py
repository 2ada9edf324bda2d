"""How safely a winner wins: its neighbours, its head-room, and its longest sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.core.equivalence import loss_differences
from sweeper.core.memory.calibration import MemoryEstimate
from sweeper.core.memory.demand import level
from sweeper.core.outcome import Infeasible, Unsupported, kind_of, measurement_of
from sweeper.core.quantities import format_bytes
from sweeper.core.space import Point, SearchSpace
from sweeper.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A trial one step away: its throughput over the winner's (each ran once), or how it failed."""

    parameter: str
    value: str
    trial: int
    times_the_winner: float | None
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LongestSequence:
    """What a rank is predicted to need at the longest sequence that the model takes.

    ``tokens`` is None where the model is not known to have one, ``need_bytes`` where the winner
    trains at it already, ``deviation_bytes`` in files from before it was kept.
    """

    tokens: int | None
    need_bytes: int | None = None
    deviation_bytes: float | None = None
    limit_bytes: int | None

    def in_words(self) -> str:
        """A sentence, with explain's words for how likely it fits."""
        if self.tokens is None:
            return "How long its samples may be is not known of this model."
        if self.need_bytes is None:
            return f"It was measured at its longest sequence, {self.tokens:,} tokens."
        at, needed = (
            f"At its longest sequence of {self.tokens:,} tokens",
            format_bytes(self.need_bytes),
        )
        if self.limit_bytes is None:
            return f"{at} {needed} are predicted; what a rank may use is not known."
        if self.deviation_bytes is None:
            return f"{at} {needed} of {format_bytes(self.limit_bytes)} are predicted."
        estimate = MemoryEstimate(
            mean_bytes=float(self.need_bytes), deviation_bytes=self.deviation_bytes
        )
        return (
            f"{at} it {level(estimate, self.limit_bytes)}: predicted are {needed} (give or take "
            f"{format_bytes(2 * self.deviation_bytes)}) of {format_bytes(self.limit_bytes)}."
        )


def longest_sequence(document: Any) -> LongestSequence | None:
    """From ``longest_sequence.json``; None where there is none."""
    return LongestSequence(**document) if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """``head_room`` is the part of the memory limit that is left, None where no limit is known.

    Of the neighbours that are no trial ``not_allowed`` could not be one, ``not_measured`` could.
    """

    neighbours: tuple[Neighbour, ...]
    not_measured: int
    not_allowed: int
    head_room: float | None
    longest: LongestSequence | None


def robustness(
    winner: Trial,
    trials: Sequence[Trial],
    *,
    steps: Mapping[str, Sequence[str]],
    peak_bytes: int | None,
    limit_bytes: int | None,
    longest: LongestSequence | None = None,
    is_forbidden: Callable[[str, str], bool] = lambda _parameter, _value: False,
) -> Robustness:
    """``steps``: each parameter's values, from ``steps_of`` or as study.yaml lists them.

    ``is_forbidden`` takes a parameter and its value: whether a rule keeps the winner from it.
    """
    found, missing, refused = [], 0, 0
    differences = loss_differences(trials)
    for parameter, value in one_step_away(winner.point, steps):
        trial = _there(winner, trials, parameter, value)
        if trial is not None and not isinstance(trial.outcome, Infeasible | Unsupported):
            difference = differences.get(trial.number)
            differs = difference is not None and difference.trains_differently
            found.append(_neighbour(winner, trial, parameter, value, differs))
        elif trial is not None or is_forbidden(parameter, value):
            refused += 1
        else:
            missing += 1
    return Robustness(
        neighbours=tuple(found),
        not_measured=missing,
        not_allowed=refused,
        head_room=1 - peak_bytes / limit_bytes if peak_bytes and limit_bytes else None,
        longest=longest,
    )


def steps_of(space: SearchSpace) -> dict[str, tuple[str, ...]]:
    """The values of the parameters that have countably many."""
    return {
        name: points for name, domain in space.parameters.items() if (points := domain.points())
    }


def one_step_away(point: Point, steps: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Parameter and value: the next lower and higher number, or any other word."""
    for name, own in point.items():
        values = [str(value) for value in steps.get(name, ())]
        numbers = sorted((v for v in values if _is_number(v)), key=float)
        for value in values:
            if value == own:
                continue
            if value in numbers and own in numbers:
                if abs(numbers.index(value) - numbers.index(own)) == 1:
                    yield name, value
            else:
                yield name, value


def in_words(found: Robustness) -> str:
    """One to three sentences."""
    parts = [_neighbours_in_words(found)]
    if found.head_room is not None and found.head_room < 0:
        parts.append(f"It is {-found.head_room:.1%} over its memory limit.")
    elif found.head_room is not None:
        parts.append(f"It leaves {found.head_room:.0%} of its memory limit free.")
    if found.longest is not None:
        parts.append(found.longest.in_words())
    return " ".join(parts)


def _neighbours_in_words(found: Robustness) -> str:
    missing = _counted(found.not_measured, "{} possible and not tried")
    refused = _counted(found.not_allowed, "{} not possible beside its other options")
    rates = sorted(n.times_the_winner for n in found.neighbours if n.times_the_winner is not None)
    failed = [n for n in found.neighbours if n.failure]
    said = []
    if rates:
        span = f"{rates[0]:.2f}" if len(rates) == 1 else f"{rates[0]:.2f} to {rates[-1]:.2f}"
        said.append(f"{len(rates)} reached {span} times its throughput in the search")
    if failed:
        listed = ", ".join(f"`{n.parameter}={n.value}` {n.failure}" for n in failed)
        said.append(f"{len(failed)} failed ({listed})")
    said += filter(None, (missing, refused))
    if not said:
        return "It has no neighbours, one step away in one option."
    return f"Of its neighbours, one step away in one option, {'; '.join(said)}."


def _counted(number: int, said: str) -> str:
    """Empty for none."""
    return f"{number} {said.format('was' if number == 1 else 'were')}" if number else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _there(winner: Trial, trials: Sequence[Trial], parameter: str, value: str) -> Trial | None:
    """The trial that differs in this alone; the fastest, where options that act only there vary."""
    shared = [
        t
        for t in trials
        if t.number != winner.number
        and t.point.get(parameter) == value
        and all(t.point.get(n, own) == own for n, own in winner.point.items() if n != parameter)
    ]
    return max(shared, key=_rate, default=None)


def _neighbour(winner: Trial, trial: Trial, parameter: str, value: str, differs: bool) -> Neighbour:
    measured = measurement_of(trial.outcome) is not None and not differs
    return Neighbour(
        parameter=parameter,
        value=value,
        trial=trial.number,
        times_the_winner=_rate(trial) / _rate(winner) if measured else None,
        failure=None if measured else "trains differently" if differs else kind_of(trial.outcome),
    )


def _rate(trial: Trial) -> float:
    """Of a trial that was stopped as beaten what its first steps showed."""
    measurement = measurement_of(trial.outcome)
    return measurement.tokens_per_second if measurement is not None else 0.0
