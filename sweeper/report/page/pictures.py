"""The pictures: those that a reader can turn, and those for a paper."""

from __future__ import annotations

from typing import Any

from sweeper.core.outcome import Measured, kind_of, measurement_of, reason_of
from sweeper.core.pareto import pareto_front
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.page.blocks import Block, Explorer, Folded, Paragraph, Picture, Section, say
from sweeper.report.page.facts import StudyFacts
from sweeper.report.rates import rate_in_the_search

# What the explorer shows as well.
_EXPLORED = ("throughput_memory", "parallel_coordinates")


def pictures(facts: StudyFacts) -> Section | None:
    """None where nothing was measured."""
    if not facts.measured:
        return None
    blocks: list[Block] = []
    if facts.finals is not None:
        blocks.append(
            Paragraph(
                text=say(
                    "These show what the search measured, each trial once; only the spread of each "
                    "finalist shows the finals, which the answer is from."
                )
            )
        )
    blocks.append(Explorer(data=explorer_data(facts)))
    again = [f for f in facts.figures if f.svg.stem in _EXPLORED]
    blocks += [Picture(figure=figure) for figure in facts.figures if figure not in again]
    if again:
        stills = [Picture(figure=figure) for figure in again]
        blocks.append(Folded(summary="The first two once more, as still pictures", blocks=stills))
    if facts.figures:
        blocks.append(
            Paragraph(text=say("Each picture is in `figures/` too, as PNG and as SVG for papers."))
        )
    return Section(name="pictures", title="Pictures", blocks=blocks)


def explorer_data(facts: StudyFacts) -> dict[str, Any]:
    """Tokens/s, bytes and options of every trial; ``null`` where it was not measured.

    On the front is neither who trains differently, and cannot win, nor an estimate from a few steps.
    """
    varying = [n for n in facts.knobs.names if len(facts.knobs.choices[n]) > 1]
    able = [
        (t.number, (float(m.peak_bytes), m.tokens_per_second))
        for t, m in facts.measured
        if isinstance(t.outcome, Measured) and not facts.differs(t.number)
    ]
    front = set(pareto_front([point for _, point in able]))
    limits = {t.memory_limit_bytes for t, _ in facts.measured if t.memory_limit_bytes}
    limit = limits.pop() if len(limits) == 1 else None
    return {
        "options": [{"name": n, "values": list(facts.knobs.choices[n])} for n in varying],
        "trials": [_trial(t, varying, facts) for t in facts.trials],
        "front": [number for number, point in able if point in front],
        "baseline": facts.baseline.number,
        "winner": facts.winner.number if facts.winner is not None else None,
        "limit_bytes": limit,
        "limit": format_bytes(limit) if limit is not None else None,
    }


def _trial(trial: Trial, names: list[str], facts: StudyFacts) -> dict[str, Any]:
    m = measurement_of(trial.outcome)
    return {
        "trial": trial.number,
        "outcome": kind_of(trial.outcome),
        "reason": reason_of(trial.outcome)[:300],
        "tokens_per_second": m and m.tokens_per_second,
        "peak_bytes": m and m.peak_bytes,
        "differs": facts.differs(trial.number),
        "rate": rate_in_the_search(trial),
        "peak": m and format_bytes(m.peak_bytes),
        "values": [facts.knobs.value(trial, name) for name in names],
    }
