"""What the answer rests on: machine, versions, noise, equal training, finals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.core.outcome import Measured, kind_of
from sweeper.core.robustness import in_words
from sweeper.core.study import INTERRUPTED
from sweeper.core.trial import Trial
from sweeper.report.carried import not_in_the_json
from sweeper.report.finalists import FINALISTS_HEAD, finalist_rows, finalists_verdict
from sweeper.report.page.blocks import (
    Block,
    Bullets,
    Callout,
    Code,
    Paragraph,
    Section,
    Subheading,
    Table,
    Text,
    marked,
    say,
)
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.unexplored import unexplored
from sweeper.report.page.words import (
    counted,
    one_line,
    options,
    ranks,
    share,
    trial_links,
)

# The kinds of outcomes, counted.
_KINDS = {
    "measured": "measured to the end",
    "stopped": "stopped early",
    "out-of-memory": "out of memory",
    "infeasible": "ruled out",
    "timed-out": "timed out",
}


def trust(facts: StudyFacts) -> Section:
    """What there is to say grows with what was measured."""
    blocks = [
        *_unequal(facts),
        *_unequal_work(facts),
        *_finals(facts),
        Subheading(text="How it was measured"),
        Bullets(items=list(_how(facts))),
        *_environment(facts),
        Subheading(text="What was not explored"),
        Bullets(items=list(unexplored(facts))),
    ]
    if facts.winner is not None and (missing := not_in_the_json(facts.winner)):
        blocks += [
            Subheading(text="What the JSON alone does not carry"),
            Paragraph(text=marked(missing)),
        ]
    return Section(name="trust", title="How far to trust it", blocks=blocks)


def _unequal(facts: StudyFacts) -> Iterator[Block]:
    """Trials of unequal environments are not compared in silence."""
    found = _environments(facts)
    if len(found) < 2:
        return
    names = [n for n in found[0] if len({str(e.get(n)) for e in found}) > 1]
    yield Callout(
        tone="caution",
        text=say(
            f"These trials ran in {len(found)} environments, which differ in {{}}: their numbers stand in "
            "one ranking, but a difference between two of them may be the machine's.",
            options(names),
        ),
    )


def _unequal_work(facts: StudyFacts) -> Iterator[Block]:
    if facts.unequal_work:
        yield Callout(
            tone="caution",
            text=say(
                "These trials do not all train the same, they differ in {}: a token of one is not the work "
                "of a token of another, and tokens/s of unequal work are not comparable.",
                options(facts.unequal_work),
            ),
        )


def _environments(facts: StudyFacts) -> list[Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for trial, _ in facts.measured:
        if trial.environment:
            found.setdefault(repr(sorted(map(str, trial.environment.items()))), trial.environment)
    return list(found.values())


def _finals(facts: StudyFacts) -> Iterator[Block]:
    if facts.finals is not None:
        yield Subheading(text="Finalists")
        yield Paragraph(text=say("{}", finalists_verdict(facts.finals)))
        yield Table(
            caption="The best few, measured again in turns, each time in fresh processes; ± is the spread "
            "from round to round, in the search from step to step",
            head=FINALISTS_HEAD,
            rows=finalist_rows(facts.finals, facts.trials),
            numeric=frozenset({1, 2, 3, 4, 5}),
            marked=frozenset({0}),
        )
    if facts.robust is not None:
        if facts.finals is None:
            yield Subheading(text="How safe it is")
        yield Paragraph(text=marked(in_words(facts.robust)))


def _how(facts: StudyFacts) -> Iterator[Text]:
    full = [(t, m) for t, m in facts.measured if isinstance(t.outcome, Measured)]
    if full:
        yield from _protocol(full[0][0], facts)
    yield from _noise(facts)
    yield from _equivalence(facts)
    thrashing = [t.number for t, m in full if m.alloc_retries]
    if thrashing:
        yield say(
            "Fits but thrashes (allocations were tried again after a flush): trials {}.",
            trial_links(thrashing),
        )
    kinds = Counter(kind_of(t.outcome) for t in facts.trials)
    shown = ", ".join(f"{n:,} {_KINDS.get(kind, kind)}" for kind, n in sorted(kinds.items()))
    yield say(f"{counted(len(facts.trials), 'trial')}: {shown}.")
    interrupted = facts.stop_reason == INTERRUPTED
    reason = "it was interrupted" if interrupted else one_line(facts.stop_reason)
    yield say("The study ended because {}.", reason)


def _protocol(first: Trial, facts: StudyFacts) -> Iterator[Text]:
    s, (_, m) = first.settings, next(p for p in facts.measured if p[0] is first)
    work = f", of {m.samples_per_step:,} samples ({m.tokens_per_step:,} tokens), the same batches for every trial"
    yield say(
        "Each trial trains {} started by {} on {}: optimizer steps until their time has settled "
        f"({len(m.warmup_step_seconds)} in trial {first.number}), then timed ones until the median is known to "
        f"{float(s['measure.interval']):.0%} or {s['measure.max_seconds']:g} s are over ({len(m.step_seconds)})"
        f"{'' if facts.unequal_work else work}.",
        Code(str(s.get("model.name", s.get("model._target_")))),
        Code(f"launch={s.get('launch.runner')}"),
        ranks(first),
    )
    yield say(
        "A step's time is that of the slowest rank, data and update included; memory is that of the "
        "fullest rank."
    )


def _noise(facts: StudyFacts) -> Iterator[Text]:
    if facts.noise is None:
        return
    yield say(
        "Within a process: ± of a trial in the search is the median absolute deviation of its steps, "
        f"{share(facts.noise)} in the median of those that were measured to the end. It says how steady "
        "that one process was, not where another one would have come out."
    )
    spread = _between_rounds(facts)
    if spread is None:
        yield say(
            "From one process to the next the same configuration may differ by more; how much was not "
            "measured. In the search each candidate ran once: small differences there decide nothing."
        )
        return
    yield say(
        "From process to process: in the rounds of the finals the throughput of one configuration differed "
        f"by {share(spread)} (standard deviation, of the finalist that varied most; part of it is the "
        "machine's drift, which pairs within a round cancel). This is what to hold differences between "
        "trials of the search against, where each candidate ran once."
    )


def _between_rounds(facts: StudyFacts) -> float | None:
    if facts.finals is None:
        return None
    numbers = {n for found in facts.finals.rounds for n in found}
    spreads = (facts.finals.spread(number) for number in numbers)
    return max((spread for spread in spreads if spread is not None), default=None)


def _equivalence(facts: StudyFacts) -> Iterator[Text]:
    if not facts.differences:
        return
    found = list(facts.differences.values())
    largest = max(d.largest for d in found)
    apart = sum(d.trains_differently for d in found)
    judged = (
        "all train alike"
        if not apart
        else f"{counted(apart, 'trial')} trained differently and cannot win"
    )
    yield say(
        f"Losses of {counted(len(found), 'trial')} were compared with those of trial {found[0].reference}, "
        f"step by step: the largest difference is {largest:.2%}; {judged}."
    )


def _environment(facts: StudyFacts) -> Iterator[Block]:
    environment = next(iter(_environments(facts)), None) or facts.study.get("environment")
    if not environment:
        return
    rows = [(name, str(value)) for name, value in environment.items() if value is not None]
    if facts.study.get("created_at"):
        rows.append(("study begun", str(facts.study["created_at"])))
    yield Subheading(text="Environment")
    yield Table(
        caption="Where the trials ran, and with which versions",
        head=("what", "which"),
        rows=rows,
        prose=True,
    )
