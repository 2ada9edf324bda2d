"""Why not the others: what is known of every value that the winner does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sweeper.core.outcome import became, reason_of
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.alternatives import Alternative, alternatives
from sweeper.report.effects import Compared
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
from sweeper.report.page.words import more_bytes, options, share, trial_link, with_doubt

# Options that buy memory with time, and the value at which they do not.
_SAVERS = {
    **{"offload": "none", "offload.optimizer": "none", "checkpointing": "none"},
    "checkpointing.every_nth_block": "0",
}
_PLENTY = 0.25
# More values than this that nobody tried are counted, not listed.
_MOST_UNTRIED = 6
# What decided, where it was not tokens/s.
_DECIDED = {
    "memory": "the least memory",
    "pareto": "tokens/s and memory",
    "cost": "the least cost, in which the ranks count too",
}


def not_chosen(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    """Nothing where the trials differ in no option."""
    found = alternatives(best, facts.trials, facts.knobs, facts.finals)
    if not found:
        return
    yield Subheading(text="Why not the others")
    yield from _savers(facts, best, found)
    tried = [a for a in found if a.nearest is not None or a.failed is not None or a.forbidden]
    if tried:
        kind = facts.how.objective.kind
        if kind in _DECIDED:
            yield Paragraph(text=say(f"The study looked for {_DECIDED[kind]}."))
        yield Table(
            caption=f"Tokens/s and memory with every other value, by the trial that has it and is otherwise nearest "
            f"to the winner{facts.but_for_the_finals}",
            head=(
                "option",
                "winner",
                "instead",
                "times the winner's tokens/s",
                "memory",
                "what is known",
            ),
            rows=[_other_row(a, facts) for a in tried],
            numeric=frozenset({3, 4}),
            prose=True,
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


def _savers(facts: StudyFacts, best: Trial, found: Sequence[Alternative]) -> Iterator[Block]:
    """Of offload and recomputation that the winner is without: what kept each out."""
    off = {
        name: [a for a in found if a.knob == name]
        for name, neutral in _SAVERS.items()
        if facts.knobs.value(best, name) == neutral
    }
    slow = []
    for name, others in off.items():
        if said := tuple(_kept_out(name, others, facts)):
            yield Paragraph(text=said)
        elif others:
            slow.append(name)
    yield from _not_needed(facts, best, slow)


def _kept_out(name: str, others: Sequence[Alternative], facts: StudyFacts) -> Iterator[Any]:
    """A rule, or that it was better in nothing that can win; nothing where it only costs what decided."""
    least = facts.how.objective.kind == "memory"
    pairs = [a.nearest for a in others if a.nearest is not None]
    able = [p for p in pairs if not facts.differs(p.trial)]
    by_itself = [p for a in others if (p := a.elsewhere if a.also else a.nearest) is not None]
    if others and all(a.forbidden for a in others):
        yield from say(
            "{} is not allowed beside the winner's other options: {}. ",
            Code(name),
            others[0].forbidden,
        )
    elif not any(p.more_bytes <= 0 if least else p.times >= 1 for p in by_itself):
        return
    if able:
        pair = min(able, key=lambda p: (p.more_bytes if least else 0, -p.times))
        beside = f"needs {_memory_beside(pair)}, and " if least else ""
        yield from say(
            f"The best trial with {{}} that is otherwise near the winner, {{}}, {beside}reached {{}} of the "
            "winner's tokens/s.",
            Code(name),
            trial_link(pair.trial),
            with_doubt(pair),
        )
    elif pairs:
        yield from say(
            "With {} only trial {} was measured near the winner, which trains differently.",
            Code(name),
            trial_link(pairs[0].trial),
        )


def _memory_beside(pair: Compared) -> str:
    """The winner."""
    if abs(pair.more_bytes) < 2**19:
        return "as much memory as the winner"
    more = "more" if pair.more_bytes > 0 else "less"
    return f"{format_bytes(abs(pair.more_bytes))} {more} memory than the winner"


def _not_needed(facts: StudyFacts, best: Trial, slow: Sequence[str]) -> Iterator[Block]:
    """They buy memory: whether there was any need to."""
    peak, limit = facts.best_peak(best), best.memory_limit_bytes
    scarce = not peak or not limit or 1 - peak / limit < _PLENTY
    if not slow or scarce or facts.how.objective.kind in ("memory", "pareto"):
        return
    assert peak
    yield Paragraph(
        text=say(
            f"{{}} trade{'s' if len(slow) == 1 else ''} speed for memory, and memory is not short: the "
            "winner leaves {} ({}) of its limit free.",
            options(slow),
            format_bytes(limit - peak),
            share(1 - peak / limit),
        )
    )


def _other_row(found: Alternative, facts: StudyFacts) -> tuple[Cell, ...]:
    pair = found.nearest
    ratio = with_doubt(pair) if pair is not None else "not measured"
    memory = more_bytes(pair.more_bytes) if pair is not None else ""
    return ((Code(found.knob),), found.own, found.value, ratio, memory, tuple(_known(found, facts)))


def _known(found: Alternative, facts: StudyFacts) -> Iterator[Any]:
    """Sentences: what failed, what was measured, what is not allowed."""
    if found.failed is not None:
        failed = found.failed
        yield from say(
            "Trial {} {}: {}. ",
            trial_link(failed.number),
            became(failed.outcome),
            reason_of(failed.outcome).splitlines()[0][:200] if reason_of(failed.outcome) else "",
        )
    if (pair := found.nearest) is not None:
        early = ", stopped early as clearly beaten" if pair.estimate else ""
        early = ", in the finals" if pair.interval is not None else early
        also = say("in {} too", options(found.also)) if found.also else say("in nothing else")
        yield from say(f"Trial {{}}{early}; differs {{}}. ", trial_link(pair.trial), also)
        if facts.differs(pair.trial):
            yield "It trains differently and cannot win. "
    if found.forbidden:
        yield from say("Beside the winner's other options it is not allowed: {}. ", found.forbidden)
    if (pair := found.elsewhere) is not None:
        yield from say(
            "Elsewhere, beside the same options without it, it gave {}: trial {} against {}. ",
            with_doubt(pair),
            trial_link(pair.trial),
            trial_link(pair.other),
        )
