"""How much of the difference in throughput each option explains."""

from __future__ import annotations

from sweeper.report.figures.frame import BLUE, HALF_INCHES, MUTED, Facts, Picture, axes_of

_MOST = 12


def picture(facts: Facts) -> Picture | None:
    """None where the importances cannot be told."""
    if not facts.importances:
        return None
    ranked = sorted(facts.importances.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked[:_MOST]
    rest = ranked[_MOST:]
    bars = [*shown, *([(f"{len(rest)} others", sum(v for _, v in rest))] if rest else [])]
    canvas, axes = axes_of(HALF_INCHES, height=0.9 + 0.26 * len(bars))
    names, values = zip(*reversed(bars), strict=True)
    colors = [MUTED if rest and name == bars[-1][0] else BLUE for name in names]
    drawn = axes.barh(range(len(bars)), values, color=colors, height=0.65)
    axes.set_yticks(range(len(bars)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.bar_label(drawn, fmt=lambda value: f"{value:.0%}", padding=3, fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlim(0, max(1e-9, 1.12 * max(values)))
    axes.set_xlabel("share of the variance of tokens/s\n(PED-ANOVA)")
    told = ", ".join(f"{name} {value:.0%}" for name, value in ranked[:5])
    return Picture(
        name="importances",
        title="Importance of each option for throughput",
        alt=f"What explains the differences in throughput, most first: {told}.",
        canvas=canvas,
    )
