"""How far the finalists' rounds lie apart, and what they say of each against the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from sweeper.core.finalists import FinalistsResult
from sweeper.core.quantities import format_rate
from sweeper.core.rounds import measurements, throughput_ratio
from sweeper.report.figures.frame import BLUE, HALF_INCHES, INK, MUTED, THOUSANDS, Facts, Picture
from sweeper.report.figures.legend import legend_above, mark


def picture(facts: Facts) -> Picture | None:
    """None without rounds in which somebody was measured."""
    result = facts.how.finals
    ranked = _ranked(result) if result is not None else []
    if result is None or not ranked:
        return None
    reference = result.baseline if result.baseline in ranked else result.winner
    # The gain first; one above the other, so that both are seen on a phone.
    heights = (0.2 + 0.25 * len(ranked), 0.2 + 0.42 * len(ranked))
    canvas = Canvas(figsize=(HALF_INCHES, 1.5 + sum(heights)))
    ratios, rates = canvas.subplots(2, 1, height_ratios=heights)
    for place, number in enumerate(reversed(ranked)):
        _rounds(rates, result, number, place)
        _ratio(ratios, result, number, reference, place)
    rates.xaxis.set_major_formatter(THOUSANDS)
    rates.set_xlabel("tokens/s")
    ratios.axvline(1, color=INK, linewidth=1)
    who = "baseline" if reference == result.baseline else f"trial {reference}"
    ratios.set_xlabel(f"times the {who} (95 % interval)")
    for axes in (rates, ratios):
        axes.set_yticks(range(len(ranked)), [_name(n, result) for n in reversed(ranked)])
        axes.set_ylim(-0.6, len(ranked) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axes.grid(visible=False, axis="y")
    marks = [
        mark("a round's median, with its interval", BLUE, markersize=4),
        mark("mean of its rounds", INK, "|", markersize=11, markeredgewidth=2),
    ]
    legend_above(canvas, [marks])
    return Picture(
        name="finalists",
        title="The spread of each finalist",
        alt=_alt(result, ranked, reference),
        canvas=canvas,
    )


def _ranked(result: FinalistsResult) -> list[int]:
    """The winner, then by throughput; without those that were never measured."""
    numbers = dict.fromkeys(n for found in result.rounds for n in found)
    rates = {n: result.tokens_per_second(n) for n in numbers}
    known = {n: rate for n, rate in rates.items() if rate is not None}
    return sorted(known, key=lambda n: (n != result.winner, -known[n]))


def _name(number: int, result: FinalistsResult) -> str:
    parts = ["winner"] if number == result.winner else []
    parts += ["tied"] if number in result.tied_with else []
    parts += ["baseline"] if number == result.baseline else []
    parts += ["failed once"] if number in result.failed else []
    return f"trial {number}" + (f" ({', '.join(parts)})" if parts else "")


def _rounds(axes: Axes, result: FinalistsResult, number: int, place: int) -> None:
    """One point for each round, the first on top."""
    found = [m.measurement for m in measurements(result.rounds, number)]
    steps = [0.28 - 0.56 * i / max(len(found) - 1, 1) for i in range(len(found))]
    for aside, m in zip(steps if len(found) > 1 else [0.0], found, strict=True):
        interval = m.tokens_per_second_interval
        axes.plot(
            [interval.low, interval.high], [place + aside] * 2, color=BLUE, alpha=0.6, linewidth=1.2
        )
        axes.plot(m.tokens_per_second, place + aside, "o", color=BLUE, markersize=4)
    mean = result.tokens_per_second(number) or 0.0
    axes.plot(mean, place, "|", color=INK, markersize=22, markeredgewidth=1.8, zorder=4)


def _ratio(
    axes: Axes, result: FinalistsResult, number: int, reference: int | None, place: int
) -> None:
    """Of the rounds in which both were measured: what slowed both cancels."""
    if number == reference:
        axes.plot(1, place, "o", color=INK, markersize=5)
    elif (ratio := throughput_ratio(result.rounds, number, reference)) is not None:
        axes.plot([ratio.low, ratio.high], [place] * 2, color=INK, linewidth=1.6)
        axes.plot(ratio.value, place, "o", color=INK, markersize=5)
    else:
        axes.annotate("too few rounds", (1, place), fontsize=7.5, color=MUTED, va="center")


def _alt(result: FinalistsResult, ranked: Sequence[int], reference: int | None) -> str:
    told = []
    for number in ranked:
        rates = [m.measurement.tokens_per_second for m in measurements(result.rounds, number)]
        ratio = throughput_ratio(result.rounds, number, reference)
        against = "" if number == reference or ratio is None else f", {ratio} times the reference"
        told.append(
            f"{_name(number, result)}: {format_rate(min(rates))} to {format_rate(max(rates))} "
            f"tokens/s in {len(rates)} rounds, {format_rate(result.tokens_per_second(number) or 0.0)} in "
            f"the mean{against}"
        )
    who = "the baseline" if reference == result.baseline else f"trial {reference}"
    return f"The rounds of each finalist; the reference is {who}. " + "; ".join(told) + "."
