"""The memory that trials were predicted to need, against what they needed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sweeper.core.outcome import OutOfMemory
from sweeper.core.prediction import Prediction
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.figures.frame import (
    BLUE,
    HALF_INCHES,
    INK,
    MAX_VECTOR_MARKS,
    MUTED,
    RED,
    Facts,
    Picture,
    axes_of,
    byte_unit,
)
from sweeper.report.figures.legend import legend_above, mark

_BAND = 0.1


def picture(facts: Facts) -> Picture | None:
    """None where nothing was predicted, or nothing came of it."""
    pairs = [
        (found, m.peak_bytes)
        for trial, m in facts.measured
        if (found := facts.predictions.get(trial.number)) is not None
    ]
    out = [
        (t, found)
        for t in facts.how.trials
        if isinstance(t.outcome, OutOfMemory)
        and t.memory_limit_bytes
        and (found := facts.predictions.get(t.number)) is not None
    ]
    if not pairs and not out:
        return None
    values = [v for found, peak in pairs for v in (found.peak_bytes, peak)]
    values += [v for t, found in out for v in (found.peak_bytes, t.memory_limit_bytes)]
    size, unit = byte_unit(max(values))
    low, high = min(values) / size, max(values) / size
    margin = max(0.05 * (high - low), 0.125 * high - (high - low) / 2)  # the band is to be seen
    span = (max(low - margin, 0.0), high + margin)
    canvas, axes = axes_of(HALF_INCHES, height=4.6)
    (line,) = axes.plot(span, span, color=INK, linewidth=1, label="as predicted", zorder=2)
    band = axes.fill_between(
        span,
        [v * (1 - _BAND) for v in span],
        [v * (1 + _BAND) for v in span],
        color=MUTED,
        alpha=0.15,
        linewidth=0,
        label=f"within {_BAND:.0%}",
    )
    many = len(pairs) + len(out) > 100
    for points, color, marker in (
        ([(found.peak_bytes, peak) for found, peak in pairs], BLUE, "o"),
        ([(found.peak_bytes, t.memory_limit_bytes) for t, found in out], RED, "^"),
    ):
        axes.plot(
            [x / size for x, _ in points],
            [y / size for _, y in points],
            marker,
            color=color,
            markersize=3 if many else 5,
            alpha=0.55 if many else 1.0,
            rasterized=len(points) > MAX_VECTOR_MARKS,
            zorder=3,
        )
    axes.set(xlim=span, ylim=span, aspect="equal")
    axes.set_xlabel(f"predicted peak of the fullest rank ({unit})")
    axes.set_ylabel(f"measured peak ({unit})")
    marks = [mark("measured", BLUE)] if pairs else []
    marks += [mark("out of memory, at its limit", RED, "^")] if out else []
    legend_above(canvas, [marks, [line, band]])
    return Picture(
        name="predicted_memory",
        title="Predicted against measured memory",
        alt=_alt(pairs, out),
        canvas=canvas,
    )


def _alt(pairs: Sequence[tuple[Prediction, int]], out: Sequence[tuple[Trial, Prediction]]) -> str:
    parts = []
    if pairs:
        errors = [abs(found.peak_bytes / peak - 1) for found, peak in pairs]
        worst, peak = max(pairs, key=lambda pair: abs(pair[0].peak_bytes / pair[1] - 1))
        parts.append(
            f"Of {len(pairs)} measured trials the predicted peak was off by "
            f"{statistics.fmean(errors):.1%} on average, and by {max(errors):.1%} at most: "
            f"{format_bytes(worst.peak_bytes)} predicted, {format_bytes(peak)} measured."
        )
    if out:
        above = sum(found.peak_bytes > t.memory_limit_bytes for t, found in out)
        parts.append(
            f"Of {len(out)} trials that ran out of memory, {above} had been predicted to need more "
            "than their limit."
        )
    return " ".join(parts)
