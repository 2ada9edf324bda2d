"""Why not the others: what is known of every value that the winner does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.core.outcome import kind_of, reason_of
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.alternatives import Alternative, alternatives
from sweeper.report.page.blocks import (
    Block,
    Cell,
    Code,
    Paragraph,
    Subheading,
    Table,
    Text,
    listed,
    say,
)
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.words import options, share, times, trial_link, with_doubt

# Options that buy memory with time, and the value at which they do not.
_SAVERS = {
    **{"offload": "none", "offload.optimizer": "none", "checkpointing": "none"},
    "checkpointing.every_nth_block": "0",
}
_PLENTY = 0.25
# More values than this that nobody tried are counted, not listed.
_MOST_UNTRIED = 6


def not_chosen(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    """Nothing where the trials differ in no option."""
    found = alternatives(best, facts.trials, facts.knobs, facts.finals)
    if not found:
        return
    yield Subheading(text="Why not the others")
    yield from _not_needed(facts, best)
    tried = [a for a in found if a.nearest is not None or a.failed is not None or a.forbidden]
    if tried:
        yield Table(
            caption="Tokens/s with every other value, by the trial that has it and is otherwise nearest to the winner",
            head=("option", "winner", "instead", "times the winner", "what is known"),
            rows=[_other_row(a) for a in tried],
            numeric=frozenset({3}),
        )
    untried = [a for a in found if a not in tried]
    if untried:
        named = [Code(f"{a.knob}={a.value}") for a in untried[:_MOST_UNTRIED]]
        rest = len(untried) - len(named)
        more: Text = (f" and {rest} more",) if rest > 0 else ()
        yield Paragraph(
            text=say(
                "Not explored, though nothing forbids it beside the winner: {}.",
                (*listed(named), *more),
            )
        )


def _not_needed(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    """Offload and recomputation buy memory: whether there was any need to."""
    peak, limit = facts.best_peak(best), best.memory_limit_bytes
    off = [n for n, neutral in _SAVERS.items() if facts.knobs.value(best, n) == neutral]
    if not off or not peak or not limit or 1 - peak / limit < _PLENTY:
        return
    one = len(off) == 1
    yield Paragraph(
        text=say(
            f"{{}} trade{'s' if one else ''} speed for memory, and memory is not short: the winner "
            f"leaves {{}} ({{}}) of its limit free.",
            options(off),
            format_bytes(limit - peak),
            share(1 - peak / limit),
        )
    )


def _other_row(found: Alternative) -> tuple[Cell, ...]:
    ratio = with_doubt(found.nearest) if found.nearest is not None else "not measured"
    return ((Code(found.knob),), found.own, found.value, ratio, tuple(_known(found)))


def _known(found: Alternative) -> Iterator[Any]:
    """Sentences: what failed, what was measured, what is not allowed."""
    if found.failed is not None:
        failed = found.failed
        yield from say(
            "Trial {} is {}: {}. ",
            trial_link(failed.number),
            kind_of(failed.outcome),
            reason_of(failed.outcome).splitlines()[0][:200] if reason_of(failed.outcome) else "",
        )
    if (pair := found.nearest) is not None:
        early = ", stopped early as clearly beaten" if pair.estimate else ""
        early = ", in the finals" if pair.interval is not None else early
        if found.also:
            also = options(found.also)
            yield from say(
                f"Trial {{}}{early}; differs in {{}} too. ", trial_link(pair.trial), also
            )
        else:
            yield from say(f"Trial {{}}{early}; differs in nothing else. ", trial_link(pair.trial))
    if found.forbidden:
        yield from say("Beside the winner's other options it is not allowed: {}. ", found.forbidden)
    if (pair := found.elsewhere) is not None:
        yield from say(
            "By itself it gave {} (trial {} against {}). ",
            times(pair.times),
            trial_link(pair.trial),
            trial_link(pair.other),
        )
