"""The trials of compared studies: the same candidate in two of them, and all in one ranking where that is fair."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from sweeper.core.equivalence import ranking
from sweeper.core.outcome import Stopped, kind_of, measurement_of, reason_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.ratios import short
from sweeper.core.trial import Trial
from sweeper.report.compared_study import ComparedStudy
from sweeper.report.comparison import Comparison, Pair
from sweeper.report.knobs import shown_value
from sweeper.report.page.answer import changed_settings
from sweeper.report.page.blocks import (
    Block,
    Cell,
    Code,
    Paragraph,
    Section,
    Subheading,
    Table,
    Text,
    listed,
    say,
)
from sweeper.report.page.words import counted, one_line

# More rows than this are counted, not shown.
_MOST_PAIRS = 20
_MOST_RANKED = 15


def same_candidates(found: Comparison) -> Section:
    """Each study against the first."""
    first, *others = found.studies
    blocks: list[Block] = []
    for other in others:
        if len(others) > 1:
            blocks.append(Subheading(text=f"{other.label} against {first.label}"))
        blocks += _pairs(found.pairs(other), first, other)
    return Section(name="candidates", title="The same candidates", blocks=blocks)


def together(found: Comparison) -> Section | None:
    """None where trials of these studies are not to be ranked together."""
    if not found.ranked_together:
        return None
    everybody = [
        (rate, study, trial)
        for study in found.studies
        for trial in ranking(study.trials, study.how.objective, stopped_too=True)
        if (rate := study.best_rate(trial)) is not None
    ]
    everybody.sort(key=lambda entry: -entry[0])
    rows: list[list[Cell]] = [
        [
            str(place),
            study.label,
            str(trial.number),
            _candidate(trial, study),
            format_rate(rate),
            format_bytes(study.best_peak(trial) or 0),
            _how_measured(study, trial),
        ]
        for place, (rate, study, trial) in enumerate(everybody[:_MOST_RANKED], start=1)
    ]
    return Section(
        name="ranking",
        title="Ranked together",
        blocks=[
            Table(
                caption=f"The fastest {len(rows)} of {counted(len(everybody), 'trial')}",
                head=("rank", "study", "trial", "settings", "tokens/s", "peak memory", "measured"),
                rows=rows,
                numeric=frozenset({0, 2, 4, 5}),
            )
        ],
    )


def _how_measured(study: ComparedStudy, trial: Trial) -> str:
    rounds = len(study.rounds(trial))
    if rounds:
        return f"in {counted(rounds, 'round')} of the finals"
    return "a few steps: stopped early" if isinstance(trial.outcome, Stopped) else "once"


def _pairs(pairs: Sequence[Pair], first: ComparedStudy, other: ComparedStudy) -> Iterator[Block]:
    names = (Code(first.label), Code(other.label))
    measured = [(p, p.times) for p in pairs if p.times is not None]
    if not pairs:
        yield Paragraph(text=say("{} and {} have no candidate in common.", *names))
        return
    yield Paragraph(text=say(_in_sum(len(pairs), [t.value for _, t in measured]), *names))
    if measured:
        measured.sort(key=lambda p: -(first.best_rate(p[0].first) or 0.0))
        shown = measured[:_MOST_PAIRS]
        which = f"the fastest {len(shown)}" if len(shown) < len(measured) else "all"
        yield Table(
            caption=f"Measured in both, in tokens/s ({which})",
            head=(
                "settings",
                "trials",
                first.label,
                other.label,
                "second over first",
                "peak memory",
            ),
            rows=[_pair_row(pair, first, other) for pair, _ in shown],
            numeric=frozenset({2, 3}),
        )
    unlike = [
        p for p in pairs if kind_of(p.first.outcome) != kind_of(p.other.outcome) and not p.times
    ]
    if unlike:
        yield Table(
            caption="Measured in one, or failed otherwise",
            head=("settings", first.label, other.label),
            rows=[
                [_candidate(p.first, first), _ended(p.first), _ended(p.other)]
                for p in unlike[:_MOST_PAIRS]
            ],
        )


def _in_sum(number: int, ratios: Sequence[float]) -> str:
    both = f"{counted(number, 'candidate')} ended in both {{}} and {{}}, "
    if not ratios:
        return both + "none was measured in both."
    low, high = min(ratios), max(ratios)
    span = f", candidate by candidate from {short(low)} to {short(high)}" if len(ratios) > 1 else ""
    return (
        f"{both}{len(ratios)} of them measured in both: in the median the second reaches "
        f"{short(statistics.median(ratios))} times the tokens/s of the first{span}. In brackets behind "
        "a ratio stands a 95 % interval where both were in their finals, else how far their steps "
        "scatter: from one process to the next it may be more."
    )


def _pair_row(pair: Pair, first: ComparedStudy, other: ComparedStudy) -> list[Cell]:
    assert pair.times is not None
    peaks = [
        format_bytes(s.best_peak(t) or 0) for s, t in ((first, pair.first), (other, pair.other))
    ]
    note = "" if pair.times.is_clear else ", within the noise"
    return [
        _candidate(pair.first, first),
        f"{pair.first.number}, {pair.other.number}",
        format_rate(_rate(first, pair.first, pair)),
        format_rate(_rate(other, pair.other, pair)),
        f"{pair.times}{', an estimate' if pair.times.estimate else ''}{note}",
        peaks[0] if peaks[0] == peaks[1] else f"{peaks[0]} → {peaks[1]}",
    ]


def _rate(study: ComparedStudy, trial: Trial, pair: Pair) -> float:
    """What the ratio beside it is of."""
    if pair.times is not None and pair.times.interval is not None:
        return statistics.geometric_mean(study.rounds(trial))
    m = measurement_of(trial.outcome)
    return m.tokens_per_second if m is not None else 0.0


def _candidate(trial: Trial, study: ComparedStudy) -> Text:
    """By what tells it from its study's baseline."""
    changed = changed_settings(trial, study.baseline)
    if not changed:
        return ("the baseline",)
    return listed([Code(f"{n}={shown_value(v)}") for n, (_, v) in changed.items()], separator=" ")


def _ended(trial: Trial) -> str:
    m, reason = measurement_of(trial.outcome), one_line(reason_of(trial.outcome))
    if m is not None:
        return f"trial {trial.number}: {format_rate(m.tokens_per_second)} tokens/s"
    short = reason if len(reason) <= 100 else f"{reason[:99]}…"
    return f"trial {trial.number}: {kind_of(trial.outcome)}" + (f", {short}" if short else "")
