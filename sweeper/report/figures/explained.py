"""How much of the difference in throughput goes along with each option."""

from __future__ import annotations

from sweeper.report.figures.frame import BLUE, HALF_INCHES, Facts, Picture, axes_of

_MOST = 12


def picture(facts: Facts) -> Picture | None:
    """None where it cannot be told."""
    if not facts.explained:
        return None
    ranked = sorted(facts.explained.items(), key=lambda item: (-item[1], item[0]))
    bars = ranked[:_MOST]
    canvas, axes = axes_of(HALF_INCHES, height=0.9 + 0.26 * len(bars))
    names, values = zip(*reversed(bars), strict=True)
    drawn = axes.barh(range(len(bars)), values, color=BLUE, height=0.65)
    axes.set_yticks(range(len(bars)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.bar_label(drawn, fmt=lambda value: f"{value:.0%}", padding=3, fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlim(0, 1.12 * max(values))
    axes.set_xlabel(
        "share of the variance of log tokens/s\n(shares of unevenly tried options overlap)"
    )
    told = ", ".join(f"{name} {value:.0%}" for name, value in ranked[:5])
    some = f"; the largest {len(bars)} of {len(ranked)} options are shown" if ranked[_MOST:] else ""
    return Picture(
        name="explained",
        title="How much of the difference in tokens/s goes along with each option",
        alt="Share of the variance of the logarithm of tokens/s that lies between an option's values, "
        f"most first: {told}{some}. Shares of options that were not tried evenly overlap.",
        canvas=canvas,
    )
