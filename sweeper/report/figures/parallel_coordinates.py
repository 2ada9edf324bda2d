"""All trials at once: a line through its settings for each, coloured by its throughput."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeper.core.outcome import measurement_of
from sweeper.core.quantities import format_rate
from sweeper.core.trial import Trial
from sweeper.report.figures.frame import (
    INK,
    MAX_VECTOR_MARKS,
    MUTED,
    RED,
    Facts,
    Picture,
    axes_of,
)
from sweeper.report.figures.legend import legend_above
from sweeper.report.table import MAIN_SETTINGS, other_varying_settings

# Where each value of a setting stands on its axis, from 0 to 1.
_Places: TypeAlias = Mapping[str, float]
_Points: TypeAlias = Sequence[tuple[float, float]]

_MOST_AXES = 7
_MOST_LABELS = 9
_LONGEST_LABEL = 16
_LETTERS_BENEATH = 105  # of all names together, side by side
# Dark is slow and light is fast, with any colour vision; its ends would be lost on a dark or white page.
_COLORS = matplotlib.colormaps["viridis"]
_DARKEST, _LIGHTEST = 0.1, 0.92


def picture(facts: Facts) -> Picture | None:
    """None where nothing was measured, or nothing varied."""
    names = _names(facts)
    if not facts.measured or not names:
        return None
    trials = facts.how.trials
    places = {name: _places(name, trials) for name in names}
    rates = {t.number: m.tokens_per_second for t, m in facts.measured}
    top = max(rates.values())
    canvas, axes = axes_of(height=4.4)
    failed = [t for t in trials if t.number not in rates]
    by_rate = sorted((t for t, _ in facts.measured), key=lambda t: rates[t.number])
    ends = [[*_line(t, places), (float(len(names)), rates[t.number] / top)] for t in by_rate]
    shades = [_COLORS(_DARKEST + (_LIGHTEST - _DARKEST) * rates[t.number] / top) for t in by_rate]
    _draw(axes, [_line(t, places) for t in failed], [MUTED] * len(failed), num_all=len(trials))
    _draw(axes, ends, shades, num_all=len(trials))
    legend = [Line2D([], [], color=MUTED, alpha=0.6, label="not measured")] if failed else []
    winner = facts.how.winner
    if winner is not None and winner.number in rates:
        best = ends[by_rate.index(winner)]
        (line,) = axes.plot(*zip(*best, strict=True), color=RED, linewidth=2.2, zorder=4)
        line.set_label(f"winner, trial {winner.number}")
        legend.insert(0, line)
    _label(axes, places, top)
    legend_above(canvas, [legend])
    return Picture(
        name="parallel_coordinates",
        title="Every trial: its settings and its throughput",
        alt=_alt(facts, names),
        canvas=canvas,
    )


def _names(facts: Facts) -> list[str]:
    """The settings that vary, those that explain most where there are too many; in the table's order."""
    trials = facts.how.trials
    main = [n for n in MAIN_SETTINGS if len({repr(t.settings.get(n)) for t in trials}) > 1]
    names = [*main, *other_varying_settings(trials)]

    def share(name: str) -> float:
        """That of the option which sets it: ``zero`` sets ``zero.stage``."""
        found = [v for p, v in facts.explained.items() if f"{name}.".startswith(f"{p}.")]
        return max(found, default=-1.0)

    chosen = sorted(names, key=lambda n: (-share(n), names.index(n)))[:_MOST_AXES]
    return [name for name in names if name in chosen]


def _places(name: str, trials: Sequence[Trial]) -> _Places:
    """Evenly apart, numbers by size; what is not set stands lowest."""
    values = {_word(v): v for t in trials for v in [t.settings.get(name)]}

    def order(word: str) -> tuple[int, float, str]:
        value: Any = values[word]
        if value is None:
            return (0, 0.0, "")
        number = isinstance(value, int | float)
        return (1, float(value), "") if number else (2, 0.0, word)

    ordered = sorted(values, key=order)
    return {word: i / max(len(ordered) - 1, 1) for i, word in enumerate(ordered)}


def _word(value: Any) -> str:
    if value is None:
        return "not set"
    word = str(value).lower() if isinstance(value, bool) else str(value)
    return word if len(word) <= _LONGEST_LABEL else f"{word[: _LONGEST_LABEL - 1]}…"


def _line(trial: Trial, places: Mapping[str, _Places]) -> list[tuple[float, float]]:
    """Aside a little, by its number, so that lines through the same values can be told apart."""
    aside = 0.05 * (trial.number * 0.618034 % 1 - 0.5)
    return [
        (float(i), where[_word(trial.settings.get(name))] + aside)
        for i, (name, where) in enumerate(places.items())
    ]


def _draw(axes: Axes, lines: Sequence[_Points], colors: Sequence[Any], *, num_all: int) -> None:
    if lines:
        axes.add_collection(
            LineCollection(
                lines,
                colors=colors,
                alpha=0.85 if num_all <= 60 else 0.5 if num_all <= 300 else 0.3,
                linewidths=1.2 if num_all <= 60 else 0.8,
                rasterized=num_all > MAX_VECTOR_MARKS,
                zorder=2,
            )
        )


def _label(axes: Axes, places: Mapping[str, _Places], top: float) -> None:
    """Each axis with its values, the last one with throughputs."""
    last = len(places)
    for i in range(last + 1):
        axes.axvline(i, color=INK, linewidth=0.8, zorder=3)
    for i, where in enumerate(places.values()):
        stride = -(-len(where) // _MOST_LABELS)
        for word, y in [*where.items()][::stride]:
            _write(axes, word, i, y)
    for rate in MaxNLocator(5).tick_values(0, top):
        if 0 <= rate <= top:
            _write(axes, f"{rate:,.10g}", last, rate / top, up=0)
    letters = _LETTERS_BENEATH // (last + 1)
    names = [*(_broken(name, letters) for name in places), "tokens/s"]
    axes.set_xticks(range(last + 1), names, fontsize=8)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.15, last + 0.5), ylim=(-0.05, 1.08))


def _broken(name: str, letters: int) -> str:
    """Over several lines, behind its dots and strokes."""
    lines = [""]
    for part in re.findall(r"[^._]+[._]?|[._]", name):
        if lines[-1] and len(lines[-1]) + len(part) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _write(axes: Axes, text: str, x: float, y: float, *, up: float = 8) -> None:
    """``up``: above the lines that go through the value."""
    axes.plot([x - 0.02, x + 0.02], [y, y], color=INK, linewidth=0.8, zorder=4)
    axes.annotate(
        text,
        (x, y),
        xytext=(4, up),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        zorder=5,
    )


def _alt(facts: Facts, names: Sequence[str]) -> str:
    said = f"A line for each of {len(facts.how.trials)} trials through {', '.join(names)}."
    winner = facts.how.winner
    m = measurement_of(winner.outcome) if winner is not None else None
    if winner is None or m is None:
        return said
    settings = ", ".join(f"{name} {_word(winner.settings.get(name))}" for name in names)
    return (
        f"{said} The winner, trial {winner.number}, has {settings}: "
        f"{format_rate(m.tokens_per_second)} tokens/s in the search."
    )
