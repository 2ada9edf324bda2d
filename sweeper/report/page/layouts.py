"""The ways in which a model was spread over the ranks, beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.page.blocks import Block, Subheading, Table
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.words import trial_link
from sweeper.report.rates import rate_in_the_search


def layouts(facts: StudyFacts) -> Iterator[Block]:
    """The ways in which the model was spread over the ranks, each by the fastest trial of its kind."""
    fastest: dict[str, tuple[Trial, Measurement]] = {}
    for trial, m in facts.measured:
        if isinstance(trial.outcome, Measured) and not facts.differs(trial.number):
            layout = layout_of(trial.settings)
            best = fastest.get(layout)
            if best is None or m.tokens_per_second > best[1].tokens_per_second:
                fastest[layout] = (trial, m)
    if len(fastest) < 2:
        return
    ranked = sorted(fastest.items(), key=lambda item: -item[1][1].tokens_per_second)
    yield Subheading(text="Parallel layouts")
    yield Table(
        caption="Each way of spreading the model over the ranks, by its fastest trial",
        head=("layout", "trial", "ZeRO", "tokens/s (of its steps)", "step (s)", "peak a rank"),
        rows=[
            (
                layout,
                (trial_link(trial.number),),
                str(trial.settings["zero.stage"]),
                rate_in_the_search(trial),
                f"{m.median_step_seconds:.4g}",
                format_bytes(m.peak_bytes),
            )
            for layout, (trial, m) in ranked
        ],
        numeric=frozenset({3, 4, 5}),
    )


def layout_of(given: Mapping[str, Any]) -> str:
    """``"tensor 2 x data 2"``: how the ranks of a trial share the work."""
    degrees = {n: given.get(f"parallel.{n}", 1) for n in ("tensor", "pipeline", "sequence")}
    data = given["hardware.ranks"] // math.prod(degrees.values())
    degrees |= {"data": data, "expert": given.get("parallel.expert", 1)}
    return " x ".join(f"{n} {degree}" for n, degree in degrees.items() if degree > 1) or "one rank"
