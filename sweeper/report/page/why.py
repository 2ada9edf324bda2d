"""Why it won: what each changed option did, what the other values gave, and where a step's time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.core.outcome import measurement_of
from sweeper.core.trial import Trial
from sweeper.report.effects import Effect, effects
from sweeper.report.page.blocks import (
    Bars,
    Block,
    Cell,
    Code,
    Paragraph,
    Section,
    Subheading,
    Table,
    Text,
    say,
)
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.layouts import layouts
from sweeper.report.page.not_chosen import not_chosen
from sweeper.report.page.words import (
    counted,
    more_bytes,
    times,
    trial_link,
    with_doubt,
)

_PARTS = ("forward", "backward", "optimizer", "rest")


def why(facts: StudyFacts) -> Section | None:
    """None where nothing was measured."""
    if facts.winner is None:
        return None
    blocks = [
        *_changes(facts, facts.winner),
        *not_chosen(facts, facts.winner),
        *_breakdown(facts, facts.winner),
        *layouts(facts),
    ]
    return Section(name="why", title="Why", blocks=blocks)


def _changes(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    if best is facts.baseline:
        who = "first point of the grid" if facts.how.of_a_grid else "baseline"
        changed = "" if facts.how.of_a_grid else ": nothing was changed"
        yield Paragraph(text=say(f"The {who} is the winner{changed}."))
        return
    found = effects(
        best,
        facts.baseline,
        facts.trials,
        facts.knobs,
        finals=facts.finals,
        explained=facts.explained,
    )
    if not found:
        return
    yield Subheading(text="What changed against the baseline")
    once = any(effect.pair is not None and effect.pair.interval is None for effect in found)
    yield Table(
        caption=f"Each changed option by itself{facts.but_for_the_finals if once else ''}",
        head=("option", "baseline", "winner", "tokens/s", "memory", "how it is known"),
        rows=[_effect_row(effect) for effect in found],
        numeric=frozenset({3, 4}),
        prose=True,
    )
    if any(effect.pair is None and effect.explains is not None for effect in found):
        yield Paragraph(
            text=say(
                "A share is what an option explains of the variance of the logarithm of tokens/s over all "
                "measured trials: how far the means of its values lie apart. It is no measured effect, "
                "has no direction, and overlaps with the shares of options that were not tried evenly "
                "beside it."
            )
        )


def _effect_row(effect: Effect) -> tuple[Cell, ...]:
    changed: tuple[Cell, ...] = ((Code(effect.knob),), effect.before, effect.after)
    pair = effect.pair
    if pair is None:
        if effect.explains is None:
            known = "not measured apart: no two trials differ in this alone"
            return (*changed, "unknown", "unknown", known)
        known = "not measured apart: what it explains over all trials"
        return (*changed, f"share {effect.explains:.0%}", "unknown", known)
    both: Text = say("{} against {}", trial_link(pair.trial), trial_link(pair.other))
    where = {
        "winner": "measured, beside the winner: trial {}",
        "baseline": "measured, beside the baseline: trial {}",
        "elsewhere": f"measured, the median of {counted(effect.pairs, 'pair')} that "
        f"differ{'s' if effect.pairs == 1 else ''} in this alone: trial {{}}",
    }[effect.near]
    finals = ", in the finals" if pair.interval is not None else ""
    doubt = "" if pair.is_clear else "; within the noise"
    early = "; one was stopped early" if pair.estimate else ""
    return (
        *changed,
        with_doubt(pair),
        more_bytes(pair.more_bytes),
        (*say(where, both), f"{finals}{doubt}{early}"),
    )


def _breakdown(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    who = [("baseline", facts.baseline)] if best is not facts.baseline else []
    rows = []
    for name, trial in [*who, (f"trial {best.number}", best)]:
        m = measurement_of(trial.outcome)
        if m is not None and m.breakdown:
            rows.append((name, [m.breakdown.get(part, 0.0) for part in _PARTS]))
    if rows:
        yield Subheading(text="Where a step's time goes")
        yield Paragraph(
            text=say(
                "Of a few further steps in the search's run of each, slowed down by a synchronisation "
                "between the parts: they show where the time goes. How fast a trial is was timed in "
                f"other steps, so these sums need not have the ratio of the gain{_both(rows, facts)}."
            )
        )
        yield Bars(
            caption="Median seconds of a step by part, measured apart, with synchronisation",
            parts=_PARTS,
            rows=rows,
        )


def _both(rows: Sequence[tuple[str, Sequence[float]]], facts: StudyFacts) -> str:
    """The two ratios, where there are two."""
    rates = [facts.best_rate(t) for t in (facts.winner, facts.baseline) if t is not None]
    if len(rows) < 2 or None in rates:
        return ""
    (_, baseline), (_, winner) = rows
    won, theirs = (rate or 0.0 for rate in rates)
    here, there = times(sum(baseline) / sum(winner)), times(won / theirs)
    return "" if here == there else f" ({here} here, {there} there)"
