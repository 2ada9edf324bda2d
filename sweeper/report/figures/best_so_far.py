"""The best so far, by trials and by the time that they took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from sweeper.core.measurement import Measurement
from sweeper.core.objective import Objective
from sweeper.core.outcome import Measured, measurement_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.trial import Trial
from sweeper.report.figures.frame import (
    BLUE,
    HALF_INCHES,
    INK,
    MAX_VECTOR_MARKS,
    RED,
    STYLE,
    THOUSANDS,
    Facts,
    Picture,
    byte_unit,
)
from sweeper.report.figures.legend import STOPPED, legend_above, mark

# Over the highest point.
_HEAD_ROOM = 1.08
_MEASURED, _STOPPED, _FAILED = "measured", "stopped", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """A trial as the search saw it: ``value`` and ``best`` are the objective's, bytes as bytes."""

    trial: Trial
    how: str
    value: float | None
    best: float | None


def picture(facts: Facts) -> Picture | None:
    """None where nothing was measured to its end, or it was the only trial."""
    history = _history(facts)
    if len(history) < 2 or history[-1].best is None:
        return None
    objective = facts.how.objective
    canvas = Canvas(figsize=(HALF_INCHES, 4.8))
    by_number, by_time = canvas.subplots(2, 1, sharey=True)
    elapsed = [*accumulate(entry.trial.wall_seconds for entry in history)]
    unit_seconds, unit = _time_unit(elapsed[-1])
    top = max(entry.value for entry in history if entry.value is not None)
    size, label = _unit(objective, top)
    _draw(by_number, history, [float(entry.trial.number) for entry in history], size)
    _draw(by_time, history, [seconds / unit_seconds for seconds in elapsed], size)
    by_number.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    by_number.set_xlabel("trial")
    by_time.set_xlabel(f"time in trials ({unit})")
    for axes in (by_number, by_time):
        axes.set_ylim(0, _HEAD_ROOM * top / size)
        axes.yaxis.set_major_formatter(THOUSANDS)
    by_time.set_xlim(left=0)
    canvas.supylabel(label, fontsize=STYLE["font.size"])
    present = {entry.how for entry in history}
    (line,) = by_number.plot([], [], color=INK, label="best so far")
    marks = [line, mark("measured", BLUE)]
    marks += [STOPPED] if _STOPPED in present else []
    marks += [mark("not measured", RED, "x")] if _FAILED in present else []
    legend_above(canvas, [marks])
    return Picture(
        name="best_so_far",
        title="Best so far, by trials and by time",
        alt=_alt(history, elapsed, objective),
        canvas=canvas,
    )


def _history(facts: Facts) -> list[_Ended]:
    objective, entries = facts.how.objective, []
    best: Measurement | None = None
    for trial in facts.how.trials:
        m = measurement_of(trial.outcome)
        counts = isinstance(trial.outcome, Measured) and not facts.trains_differently(trial)
        if counts and m is not None:
            better = best is None or objective.order(m) < objective.order(best)
            best = m if better else best
        how = _FAILED if m is None else _MEASURED if counts else _STOPPED
        entries.append(
            _Ended(
                trial=trial,
                how=how,
                value=None if m is None else _value(objective, m),
                best=None if best is None else _value(objective, best),
            )
        )
    return entries


def _value(objective: Objective, m: Measurement) -> float:
    """Throughput, unless the study was after something else."""
    return objective.values(m)[0]


def _unit(objective: Objective, largest: float) -> tuple[int, str]:
    """What an axis up to the largest value is divided by, and called."""
    match objective.kind:
        case "memory":
            size, unit = byte_unit(largest)
            return size, f"peak memory of the fullest rank ({unit})"
        case "time_to_target":
            return 1, f"hours for {objective.target_tokens:.3g} tokens"
        case "cost":
            return 1, f"cost of {objective.target_tokens:.3g} tokens"
        case _:
            return 1, "tokens/s"


def _draw(axes: Axes, history: Sequence[_Ended], places: Sequence[float], size: int) -> None:
    pixels = len(history) > MAX_VECTOR_MARKS
    points = 3.0 if len(history) > 100 else 5.0
    for how, look in (
        (_MEASURED, {"marker": "o", "color": BLUE}),
        (_STOPPED, {"marker": "o", "color": BLUE, "markerfacecolor": "none"}),
        (_FAILED, {"marker": "x", "color": RED, "clip_on": False, "markersize": min(points, 4.0)}),
    ):
        shown = [
            (x, (entry.value or 0.0) / size)
            for x, entry in zip(places, history, strict=True)
            if entry.how == how
        ]
        if shown:
            kept = {"markersize": points, "linestyle": "none", "rasterized": pixels, "zorder": 3}
            axes.plot(*zip(*shown, strict=True), **(kept | look))  # type: ignore[arg-type]
    line = [
        (x, entry.best / size)
        for x, entry in zip(places, history, strict=True)
        if entry.best is not None
    ]
    axes.step(*zip(*line, strict=True), where="post", color=INK, zorder=4)


def _time_unit(seconds: float) -> tuple[float, str]:
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def _alt(history: Sequence[_Ended], elapsed: Sequence[float], objective: Objective) -> str:
    final = history[-1].best
    first = next(i for i, entry in enumerate(history) if entry.best is not None)
    last = next(i for i, entry in enumerate(history) if entry.best == final)
    unit_seconds, unit = _time_unit(elapsed[-1])

    def told(value: float | None) -> str:
        assert value is not None
        if objective.kind == "memory":
            return format_bytes(value)
        _, named = _unit(objective, value)
        return f"{format_rate(value)} {named}" if named == "tokens/s" else f"{value:.3g} {named}"

    began = f"It begins with {told(history[first].best)} in trial {history[first].trial.number}"
    ended = f" and reaches its last, {told(final)}, in trial {history[last].trial.number}"
    if first == last:
        ended = ", and stays there"
    return (
        f"The best so far over {len(history)} trials, which took {elapsed[-1] / unit_seconds:.3g} "
        f"{unit}. {began}{ended}, after {elapsed[last] / unit_seconds:.3g} {unit}."
    )
