"""The finalists: who was measured again, and what that showed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.core.finalists import FinalistsResult
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.rounds import peak_bytes, throughput_ratio
from sweeper.core.trial import Trial
from sweeper.report.rates import plus_minus, rate_in_the_search

FINALISTS_HEAD = (
    "trial",
    "tokens/s (mean of its rounds)",
    "times the winner's (95 %)",
    "rounds",
    "peak memory",
    "tokens/s in the search",
)


def finalist_rows(result: FinalistsResult, trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """The winner first; the search's own numbers, from ``trials``, stand beside the rounds'."""
    searched = {trial.number: trial for trial in trials}
    return [_row(n, result, searched.get(n)) for n in _ranked(result)]


def finalists_verdict(result: FinalistsResult) -> str:
    """Winner, tie and gain in one line, for the terminal and the report."""
    return " ".join(_sentences(result))


def _sentences(result: FinalistsResult) -> list[str]:
    num = len(result.rounds)
    turns = f"{num} round{'s' if num != 1 else ''} of fresh processes, taking turns"
    if result.winner is None:
        return [f"None of the finalists got through {turns}."]
    if result.tied_with:
        names = ", ".join(str(n) for n in (result.winner, *result.tied_with))
        said = [f"A tie: after {turns}, trials {names} cannot be told apart.", _chosen(result)]
    elif result.lead is not None:
        said = [f"Trial {result.winner} wins: in {turns}, {_lead(result)}."]
    else:
        said = [f"Trial {result.winner} wins: {result.stop_reason}."]
    return [*said, *_below(result), _gain(result)]


def _lead(result: FinalistsResult) -> str:
    rival = f"the runner-up, trial {result.runner_up}"
    match result.objective.kind:
        case "memory":
            return f"{rival}, needed {result.lead} times its memory"
        case "cost":
            return f"each of its ranks reached {result.lead} times the throughput of one of {rival}"
        case _:
            return f"it reached {result.lead} times the throughput of {rival}"


def _below(result: FinalistsResult) -> Iterator[str]:
    """Less memory does not win below the floor."""
    if result.below and result.objective.kind != "memory":
        yield "Nothing reached the floor of throughput: the fastest is taken."
    elif result.below:
        trials = f"Trial{'s' if len(result.below) > 1 else ''} {', '.join(map(str, result.below))}"
        yield f"{trials} did not reach the floor of throughput."


def _chosen(result: FinalistsResult) -> str:
    if result.taken_for_memory:
        return f"Trial {result.winner} is taken, for its memory."
    best = "the cheapest" if result.objective.kind == "cost" else "the fastest"
    return f"Their memory is the same; trial {result.winner} was {best} by a hair."


def _gain(result: FinalistsResult) -> str:
    if result.winner == result.baseline:
        better = {"memory": "needs clearly less memory", "cost": "is clearly cheaper"}
        nothing = better.get(result.objective.kind, "is clearly faster")
        return f"That is the baseline itself: nothing {nothing}."
    if result.gain is None:
        return "The baseline was not measured beside it: there is no gain to tell."
    return f"Its throughput is {result.gain} times the baseline's (95 % interval)."


def _ranked(result: FinalistsResult) -> list[int]:
    """The winner, those tied with it, the others by throughput, those that failed."""
    numbers = dict.fromkeys(n for found in result.rounds for n in found)
    first = (result.winner, *result.tied_with)
    return sorted(
        numbers,
        key=lambda n: (
            n in result.failed,
            n != result.winner,
            n not in first,
            -(result.tokens_per_second(n) or 0.0),
        ),
    )


def _row(number: int, result: FinalistsResult, searched: Trial | None) -> tuple[str, ...]:
    peak = peak_bytes(result.rounds, number)
    ratio = throughput_ratio(result.rounds, number, result.winner)
    relative = "1" if number == result.winner else str(ratio or "")
    return (
        f"{number} (baseline)" if number == result.baseline else str(number),
        rate_of_the_rounds(result, number),
        result.failed.get(number, relative),
        str(sum(number in found for found in result.rounds)),
        format_bytes(peak) if peak else "",
        rate_in_the_search(searched) if searched is not None else "",
    )


def rate_of_the_rounds(result: FinalistsResult, number: int) -> str:
    """With the spread from round to round; empty where it was never measured."""
    rate, spread = result.tokens_per_second(number), result.spread(number)
    if rate is None:
        return ""
    return format_rate(rate) if spread is None else plus_minus(rate, rate * spread)
