"""Everything else: the full table, and where each file is."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.core.outcome import Measured, Stopped, kind_of, measurement_of
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.knobs import shown_value
from sweeper.report.page.blocks import (
    Block,
    Bullets,
    Cell,
    Link,
    Paragraph,
    Section,
    Table,
    Text,
    listed,
    say,
)
from sweeper.report.page.facts import StudyFacts
from sweeper.report.rates import rate_in_the_search
from sweeper.report.table import MAIN_SETTINGS, other_varying_settings

_FILES = {
    "trials.csv": "every number of every trial, in bytes and seconds",
    "trials.parquet": "the same, for pandas",
    "study.yaml": "how the study was made",
    "best/": "the winner, for each framework; `best/README.md` says how",
    "figures/": "the pictures as PNG and SVG",
    "finalists.json": "the finals, in numbers",
    "optuna.journal": "what Optuna keeps",
}


def everything(facts: StudyFacts) -> Section:
    """The best first, what was not measured last."""
    trials = in_rank_order(facts)
    settings = [*MAIN_SETTINGS, *other_varying_settings(facts.trials)]
    head = (
        "rank",
        "trial",
        "outcome",
        "tokens/s",
        "samples/s",
        "step (s)",
        "peak memory",
        *settings,
        "files",
    )
    place = {t.number: str(n) for n, t in enumerate(facts.able_to_win, 1)}
    marked = {n for n, t in enumerate(trials) if t is facts.winner}
    blocks: list[Block] = [
        Table(
            caption="All trials as the search measured them, once each, the best first; ± is the spread of a "
            "trial's own steps; where it was stopped early, their number stands instead",
            head=head,
            rows=[_row(t, place.get(t.number, ""), settings, facts) for t in trials],
            numeric=frozenset({0, 3, 4, 5, 6}),
            marked=frozenset(marked),
        ),
        Paragraph(
            text=say("`command.txt` of a trial runs it again by hand. Of the study as a whole:")
        ),
        Bullets(items=[_file(name) for name in facts.others]),
    ]
    return Section(name="everything", title="Everything else", blocks=blocks)


def in_rank_order(facts: StudyFacts) -> Sequence[Trial]:
    """By the study's objective; behind them those that train differently, and those without a number."""
    ranked = facts.able_to_win
    known = {t.number for t in ranked}
    rest = [t for t in facts.trials if t.number not in known]
    return [*ranked, *sorted(rest, key=lambda t: measurement_of(t.outcome) is None)]


def _row(trial: Trial, place: str, settings: Sequence[str], facts: StudyFacts) -> tuple[Cell, ...]:
    m = measurement_of(trial.outcome)
    numbers = ("", "", "", "")
    if m is not None:
        numbers = (
            rate_in_the_search(trial),
            f"{m.samples_per_second:.4g}",
            f"{m.median_step_seconds:.4g}",
            format_bytes(m.peak_bytes),
        )
    folder = f"trials/{trial.number:04d}/"
    name: Text = (Link(str(trial.number), folder),)
    if trial is facts.baseline:
        name = (*name, " (baseline)")
    return (
        place,
        name,
        _outcome(trial, facts),
        *numbers,
        *(shown_value(trial.settings.get(s)) for s in settings),
        listed(
            [
                Link(file.partition(".")[0], folder + file)
                for file in facts.files.get(trial.number, ())
            ]
        ),
    )


def _outcome(trial: Trial, facts: StudyFacts) -> str:
    if facts.differs(trial.number):
        return "trains differently"
    if isinstance(trial.outcome, Stopped):
        return "stopped early: beaten"
    if isinstance(trial.outcome, Measured) and trial is facts.winner:
        return "measured, the winner"
    return kind_of(trial.outcome)


def _file(name: str) -> Text:
    return (Link(name, name), ": ", *say(_FILES.get(name, "")))


def known_files() -> tuple[str, ...]:
    """Of a study, those that the page names where they are there."""
    return tuple(_FILES)
