"""Who won, and by how much, in one sentence."""

from __future__ import annotations

import math

from sweeper.core.finalists import FinalistsResult, median_tokens_per_second, peak_bytes
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, kind_of, measurement_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial


def verdict(how: Standing) -> str:
    """The winner and its gain over the baseline (trial 0), in one sentence."""
    if how.winner is None:
        return f"none of {len(how.trials)} trials was measured"
    finals = how.finals
    if finals is not None and finals.winner == how.winner.number and finals.rounds:
        return _of_the_finals(how, finals)
    return _of_the_search(how)


def _of_the_finals(how: Standing, finals: FinalistsResult) -> str:
    assert how.winner is not None
    number = how.winner.number
    speed = _speed(
        median_tokens_per_second(finals.rounds, number) or 0.0,
        peak_bytes(finals.rounds, number) or 0,
        how,
    )
    if number == finals.baseline:
        return f"your own options (trial {number}) are not clearly beaten by any finalist: {speed}"
    gain = f"; {finals.gain} times the baseline's tokens/s (95 % interval)" if finals.gain else ""
    return f"trial {number} {_superlative(how)}: {speed}{gain}{_tie(finals)}"


def _tie(finals: FinalistsResult) -> str:
    """The finals call nobody a winner whose lead is not beyond doubt."""
    others = [f"trial {n}" for n in finals.tied_with if n != finals.baseline]
    if finals.baseline in finals.tied_with:
        others.append("the baseline itself")
    return f"; not beyond doubt: a tie with {' and '.join(others)}" if others else ""


def _of_the_search(how: Standing) -> str:
    best, baseline = how.winner, how.trials[0]
    assert best is not None
    won = _measurement(best)
    speed = _speed(won.tokens_per_second, won.peak_bytes, how)
    if best.number == baseline.number:
        others = len([t for t in how.trials if isinstance(t.outcome, Measured)]) - 1
        if not others:
            return f"the baseline is the only trial that was measured: {speed}"
        best_word = "the fastest" if _by_speed(how) else "the best"
        return f"your own options (trial 0) were {best_word} of {others + 1} measured: {speed}"
    if not isinstance(baseline.outcome, Measured):
        why = kind_of(baseline.outcome)
        return f"trial {best.number} {_superlative(how)}: {speed}; the baseline (trial 0) is {why}"
    theirs = _measurement(baseline)
    gain, uncertainty = gain_of_the_search(won, theirs)
    within = "; that is within the noise of the two" if 0 <= gain - 1 <= uncertainty else ""
    return (
        f"trial {best.number} {_superlative(how)}: {speed}, {gain:.2f} (±{uncertainty:.2f}) times "
        f"the baseline's {format_rate(theirs.tokens_per_second)} tokens/s"
        f"{_memory_saved(how, won, theirs)}{within}"
    )


def _by_speed(how: Standing) -> bool:
    return how.objective.kind in ("throughput", "time_to_target")


def _superlative(how: Standing) -> str:
    objective = how.objective
    match objective.kind:
        case "memory":
            floor = (
                f" at {format_rate(f)} tokens/s or more"
                if (f := objective.throughput_floor)
                else ""
            )
            return f"needs the least memory{floor}"
        case "pareto":
            return "is the fastest of the Pareto front"
        case "cost":
            return "is the cheapest"
        case _:
            return "is the fastest"


def _speed(tokens_per_second: float, peak: int, how: Standing) -> str:
    parts = [f"{format_rate(tokens_per_second)} tokens/s", f"peak {format_bytes(peak)}"]
    objective = how.objective
    if objective.kind in ("time_to_target", "cost") and tokens_per_second:
        hours = objective.target_tokens / tokens_per_second / 3600
        parts.append(f"{objective.target_tokens:.3g} tokens take {hours:.3g} h")
        if objective.price_per_device_hour and how.winner is not None:
            ranks = int(how.winner.settings["hardware.ranks"])
            cost = hours * ranks * objective.price_per_device_hour
            parts.append(f"and cost {cost:.3g} on {ranks} ranks")
    return ", ".join(parts)


def _memory_saved(how: Standing, won: Measurement, theirs: Measurement) -> str:
    if how.objective.kind != "memory":
        return ""
    return (
        f" and {won.peak_bytes / theirs.peak_bytes:.2f} times its {format_bytes(theirs.peak_bytes)}"
    )


def gain_of_the_search(won: Measurement, baseline: Measurement) -> tuple[float, float]:
    """The ratio of the median throughputs, and its uncertainty from both deviations in quadrature."""
    ratio = won.tokens_per_second / baseline.tokens_per_second
    relative = math.hypot(
        won.tokens_per_second_mad / won.tokens_per_second,
        baseline.tokens_per_second_mad / baseline.tokens_per_second,
    )
    return ratio, ratio * relative


def _measurement(trial: Trial) -> Measurement:
    measurement = measurement_of(trial.outcome)
    assert measurement is not None
    return measurement
