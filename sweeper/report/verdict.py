"""Who won, and by how much, in one sentence."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from sweeper.core.equivalence import loss_differences
from sweeper.core.finalists import SAME_MEMORY, FinalistsResult
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, became, measurement_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.ratios import short, with_spread
from sweeper.core.rounds import peak_bytes
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial

Gained: TypeAlias = Literal["nothing", "unknown", "unclear", "shared", "clearly"]


def verdict(how: Standing) -> str:
    """The winner and its gain over the baseline (trial 0), in one sentence."""
    if how.winner is None:
        num = len(how.trials)
        return (
            "the only trial was not measured" if num == 1 else f"none of {num} trials was measured"
        )
    finals = _deciding(how)
    said = _of_the_search(how) if finals is None else _of_the_finals(how, finals)
    return f"{said}{_kept_from_winning(how, how.winner)}"


def _kept_from_winning(how: Standing, winner: Trial) -> str:
    """Those that were ahead, and train differently: a reader sees their numbers too."""
    differences, won = loss_differences(how.trials), how.objective.order(_measurement(winner))
    ahead = [
        f"trial {trial.number}"
        for trial in how.trials
        if (difference := differences.get(trial.number)) and difference.trains_differently
        if isinstance(trial.outcome, Measured)
        and how.objective.order(trial.outcome.measurement) < won
    ]
    if not ahead:
        return ""
    verb = "trains" if len(ahead) == 1 else "train"
    return f"; {' and '.join(ahead)} measured better, but {verb} differently and cannot win"


def gained(how: Standing) -> Gained:
    """What the winner is beside the baseline; ``shared`` is a gain that another trial has as well."""
    best, finals = how.winner, _deciding(how)
    if best is None or best.number == how.trials[0].number:
        return "nothing"
    if finals is None:
        return _gained_in_the_search(how, best)
    advantage = finals.advantage
    if finals.baseline in finals.tied_with or (advantage and advantage.low <= 1.0):
        return "unclear"
    if finals.tied_with:
        return "shared"
    return "clearly" if advantage else "unknown"


def _gained_in_the_search(how: Standing, best: Trial) -> Gained:
    won, theirs = measurement_of(best.outcome), measurement_of(how.trials[0].outcome)
    if won is None or theirs is None or not isinstance(how.trials[0].outcome, Measured):
        return "unknown"
    ratio, doubt = gain_of_the_search(won, theirs)
    faster = ratio - 1 > doubt
    saved = won.peak_bytes * (1 + SAME_MEMORY) < theirs.peak_bytes
    # Who reaches the floor at all may take more memory than who does not.
    reached = how.objective.shortfall(won) <= 0 < how.objective.shortfall(theirs)
    clear = {"memory": saved or reached, "pareto": saved or faster}
    return "clearly" if clear.get(how.objective.kind, faster) else "unclear"


def _deciding(how: Standing) -> FinalistsResult | None:
    """The finals, where it is they that made the winner."""
    finals = how.finals
    if finals is None or how.winner is None or finals.winner != how.winner.number:
        return None
    return finals if finals.rounds else None


def _of_the_finals(how: Standing, finals: FinalistsResult) -> str:
    assert finals.winner is not None
    number = finals.winner
    speed = _speed(
        finals.tokens_per_second(number) or 0.0, peak_bytes(finals.rounds, number) or 0, how
    )
    if number == finals.baseline:
        if finals.tied_with:
            said = f"no clear gain over your own options (trial {number}), which are"
            return f"{said} {_tie(how, finals)}: {speed}"
        best = {"cost": "are the cheapest", "memory": "need the least memory"}
        said = best.get(finals.objective.kind, "are the fastest")
        return f"your own options (trial {number}) {said}: {speed}"
    said = f"is {_tie(how, finals)}" if finals.tied_with else _superlative(how)
    unclear = "no clear gain over your own options; " if gained(how) == "unclear" else ""
    gain = f"; {finals.gain} times the baseline's tokens/s (95 % interval)" if finals.gain else ""
    return f"{unclear}trial {number} {said}: {speed}{gain}{_memory_of_the_finals(finals)}"


def _tie(how: Standing, finals: FinalistsResult) -> str:
    """The finals call nobody the fastest whose lead is not beyond doubt."""
    others = [f"trial {n}" for n in finals.tied_with if n != finals.baseline]
    if finals.baseline in finals.tied_with:
        others.append("the baseline")
    *most, last = others
    named = f"{', '.join(most)} and {last}" if most else last
    if finals.objective.kind == "memory":
        why = "needing the least" if finals.taken_for_memory else "the fastest of them"
        return f"level in memory with {named} (a tie), and {why}"
    alike = "as cheap as" if how.objective.kind == "cost" else "as fast as"
    whose = "their" if finals.winner == finals.baseline else "its"
    why = f"taken for {whose} memory" if finals.taken_for_memory else "by a hair the first"
    return f"{alike} {named} (a tie), and {why}"


def _of_the_search(how: Standing) -> str:
    best, baseline = how.winner, how.trials[0]
    assert best is not None
    won = _measurement(best)
    speed = _speed(won.tokens_per_second, won.peak_bytes, how)
    if best.number == baseline.number:
        others = len([t for t in how.trials if isinstance(t.outcome, Measured)]) - 1
        if not others:
            return f"{_named(how)} is the only trial that was measured to its end: {speed}"
        best_word = "the fastest" if _by_speed(how) else "the best"
        whose = (
            "the grid's first point (trial 0) was"
            if how.of_a_grid
            else "your own options (trial 0) were"
        )
        return f"{whose} {best_word} of {others + 1} measured: {speed}"
    if not isinstance(baseline.outcome, Measured):
        why = became(baseline.outcome)
        return f"trial {best.number} {_superlative(how)}: {speed}; {_named(how)} (trial 0) {why}"
    theirs = _measurement(baseline)
    gain, uncertainty = gain_of_the_search(won, theirs)
    said = f"trial {best.number} {_superlative(how)}"
    if gained(how) == "unclear":
        over = "the grid's first point" if how.of_a_grid else "your own options"
        said = f"no clear gain over {over}; trial {best.number} {_comparative(how)}"
    return (
        f"{said}: {speed}, {with_spread(gain, uncertainty)} times "
        f"{_named(how)}'s {format_rate(theirs.tokens_per_second)} tokens/s"
        f"{_memory_saved(how, won, theirs)}"
    )


def _named(how: Standing) -> str:
    return "the first point" if how.of_a_grid else "the baseline"


def _by_speed(how: Standing) -> bool:
    return how.objective.kind in ("throughput", "time_to_target")


def _comparative(how: Standing) -> str:
    """Of a difference that is none."""
    match how.objective.kind:
        case "memory":
            return "needs less memory by no more than the same options differ from run to run"
        case "cost":
            return "was cheaper within the noise of the two"
        case _:
            return "was faster within the noise of the two"


def _superlative(how: Standing) -> str:
    objective = how.objective
    match objective.kind:
        case "memory":
            if objective.takes_floor_of_baseline:
                return (
                    "needs the least memory, however slow (no floor of tokens/s held, since the baseline "
                    "was not measured; type objective.throughput_floor=<tokens/s> for one)"
                )
            floor = objective.throughput_floor
            if not floor:
                return "needs the least memory"
            if _misses_the_floor(how):
                return f"is the fastest, since none reaches {format_rate(floor)} tokens/s"
            return f"needs the least memory at {format_rate(floor)} tokens/s or more"
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
            parts.append(f"and cost {cost:.3g} on {ranks} rank{'s' if ranks != 1 else ''}")
    return ", ".join(parts)


def _memory_saved(how: Standing, won: Measurement, theirs: Measurement) -> str:
    if how.objective.kind != "memory":
        return ""
    return f" and {short(won.peak_bytes / theirs.peak_bytes)} times its {format_bytes(theirs.peak_bytes)}"


def _memory_of_the_finals(finals: FinalistsResult) -> str:
    if finals.objective.kind != "memory" or finals.advantage is None:
        return ""
    peak = peak_bytes(finals.rounds, finals.baseline or 0) or 0
    return f" and {short(1 / finals.advantage.value)} times its {format_bytes(peak)}"


def _misses_the_floor(how: Standing) -> bool:
    finals, best = _deciding(how), how.winner
    if finals is not None:
        return finals.objective.kind != how.objective.kind
    return best is not None and how.objective.shortfall(_measurement(best)) > 0


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
