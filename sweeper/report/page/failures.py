"""What failed: grouped by reason, with the evidence, and the nearest thing that worked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sweeper.core.outcome import (
    Crashed,
    Infeasible,
    OutOfMemory,
    Stopped,
    TimedOut,
    kind_of,
    measurement_of,
    reason_of,
)
from sweeper.core.trial import Trial
from sweeper.report.alternatives import nearest
from sweeper.report.knobs import Knobs
from sweeper.report.page.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Copyable,
    Paragraph,
    Section,
    Subheading,
    Table,
    Text,
    listed,
    say,
)
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.words import counted, one_line, trial_link, trial_links

_LONGEST_REASON = 300
# Of each crash the end of what it left; the file has all of it.
_EVIDENCE_LINES = 12
_MOST_EVIDENCE = 8
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def failures(facts: StudyFacts) -> Section:
    """Says so where nothing did."""
    blocks = [
        *_not_measured(facts),
        *_stopped(facts),
        *_different(facts),
        *_ruled_out(facts),
        *_of_the_script(facts),
    ]
    return Section(name="failures", title="What failed, and why", blocks=blocks)


def _not_measured(facts: StudyFacts) -> Iterator[Block]:
    failed = [t for t in facts.trials if measurement_of(t.outcome) is None]
    if not failed:
        yield Paragraph(text=say(_none_failed(facts)))
        return
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in failed:
        groups.setdefault((kind_of(trial.outcome), _alike(trial)), []).append(trial)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    working = [t for t, _ in facts.measured]
    yield Paragraph(
        text=say(f"{counted(len(failed), 'trial')} of {len(facts.trials):,} gave no number.")
    )
    yield Table(
        caption="What was not measured, by reason",
        head=("outcome", "reason", "rule or evidence", "trials", "nearest thing that worked"),
        rows=[
            (
                kind,
                _short(_reason(members)),
                _evidence(members),
                trial_links(t.number for t in members),
                _nearest(members, working, facts.knobs),
            )
            for (kind, _), members in ordered
        ],
    )
    crashes = [members[0] for _, members in ordered if isinstance(members[0].outcome, Crashed)]
    for trial in crashes[:_MOST_EVIDENCE]:
        assert isinstance(trial.outcome, Crashed)
        lines = trial.outcome.evidence.strip().splitlines()[-_EVIDENCE_LINES:]
        if lines:
            yield Copyable(
                label=f"The end of what trial {trial.number} left",
                text="\n".join(lines),
                folded=True,
            )


def _none_failed(facts: StudyFacts) -> str:
    stopped = sum(isinstance(t.outcome, Stopped) for t in facts.trials)
    if not stopped:
        return "None failed: every trial was measured to its end."
    return (
        f"None failed: {len(facts.trials) - stopped} measured to the end, {stopped} stopped early."
    )


def _alike(trial: Trial) -> str:
    """Reasons that differ in a number are one; a rule's are."""
    if isinstance(trial.outcome, Infeasible):
        return trial.outcome.rule
    return _NUMBER.sub("#", one_line(reason_of(trial.outcome)))


def _reason(members: Sequence[Trial]) -> str:
    """Of all: from which number to which; where that cannot be said, the first one's, named as such."""
    reasons = list(dict.fromkeys(one_line(reason_of(t.outcome)) for t in members))
    if len(reasons) == 1:
        return reasons[0]
    first, numbers = reasons[0], [_NUMBER.findall(reason) for reason in reasons]
    if len({_NUMBER.sub("#", reason) for reason in reasons}) == 1:
        spans = [_span(column) for column in zip(*numbers, strict=True)]
        places = [match.span() for match in _NUMBER.finditer(first)]
        varying = [place for place, span in zip(places, spans, strict=True) if " to " in span]
        if not any(_is_in_a_word(first, *place) for place in varying):
            rest = iter(spans)
            return _NUMBER.sub(lambda _: next(rest), first)
    return f"{first} (trial {members[0].number}; the others likewise)"


def _span(numbers: Sequence[str]) -> str:
    """``"20 to 24"``"""
    ordered = sorted(set(numbers), key=lambda n: float(n.replace(",", "")))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _is_in_a_word(text: str, start: int, end: int) -> bool:
    """A number of a name or an address: from one to another means nothing there."""
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    return before.isalpha() or after.isalpha() or bool({before, after} & {"_", "/", "-", ":"})


def _short(reason: str) -> str:
    reason = one_line(reason)
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."


def _evidence(members: Sequence[Trial]) -> Text:
    """Each that there is, once."""
    return listed(list(dict.fromkeys(_evidence_of(t) for t in members))[:_MOST_EVIDENCE])


def _evidence_of(trial: Trial) -> Text:
    match trial.outcome:
        case Infeasible(rule=rule):
            return say("rule {}", Code(rule))
        case OutOfMemory(memory=memory, phase=phase):
            return say(f"{memory} memory ran out during {{}}", phase)
        case TimedOut(phase=phase):
            return say("during {}", phase)
        case Crashed(exit_code=code) if code is not None:
            return say(f"exit code {code}")
        case _:
            return ("what its ranks wrote",)


def _nearest(members: Sequence[Trial], working: Sequence[Trial], knobs: Knobs) -> Cell:
    """Of all members the one that is nearest to one that worked."""
    pairs = [(t, near) for t in members if (near := nearest(t, working, knobs)) is not None]
    if not pairs:
        return "nothing worked"
    failed, near = min(pairs, key=lambda pair: len(knobs.differing(*pair)))
    changes = [
        say("{}: {} → {}", Code(n), knobs.value(failed, n) or "", knobs.value(near, n) or "")
        for n in knobs.differing(failed, near)
    ]
    if not changes:
        return say("trial {}, the same options", trial_link(near.number))
    return say("trial {} ({})", trial_link(near.number), listed(changes))


def _stopped(facts: StudyFacts) -> Iterator[Block]:
    stopped = [t.number for t in facts.trials if isinstance(t.outcome, Stopped)]
    if stopped:
        was, their = ("was", "Its") if len(stopped) == 1 else ("were", "Their")
        yield Paragraph(
            text=say(
                f"{counted(len(stopped), 'trial')} did not fail but {was} stopped after a few steps, "
                f"clearly beaten: {{}}. {their} numbers are estimates from those steps.",
                trial_links(stopped),
            )
        )


def _different(facts: StudyFacts) -> Iterator[Block]:
    found = {n: d for n, d in facts.differences.items() if d.trains_differently}
    if not found:
        return
    reference = next(iter(found.values())).reference
    yield Subheading(text="Trains differently")
    yield Paragraph(
        text=say(
            "These were fast or slow at something else: on the same batches their losses differ from "
            f"trial {reference}'s by more than the arithmetic explains. They cannot win."
        )
    )
    yield Table(
        caption="Trials whose losses differ",
        head=("trial", "largest difference", "in step", "tolerance"),
        rows=[
            ((trial_link(n),), f"{d.largest:.2%}", str(d.step), f"{d.tolerance:.2%}")
            for n, d in found.items()
        ],
        numeric=frozenset({1, 2, 3}),
    )


def _ruled_out(facts: StudyFacts) -> Iterator[Block]:
    """What the plan and the memory model took out of the space before the first trial."""
    if not facts.ruled_out or not facts.ruled_out["rules"]:
        return
    rules = sorted(facts.ruled_out["rules"].items(), key=lambda item: -item[1]["candidates"])
    number = sum(found["candidates"] for _, found in rules)
    yield Subheading(text="What was ruled out without a trial")
    yield Paragraph(
        text=say(
            f"{number:,} of {facts.ruled_out['space']:,} candidates, by what is known of DeepSpeed:"
        )
    )
    yield Table(
        caption="Rules, and how many candidates each took out",
        head=("rule", "candidates", "reason, for example"),
        rows=[
            ((Code(rule),), f"{found['candidates']:,}", found["reason"]) for rule, found in rules
        ],
        numeric=frozenset({1}),
        prose=True,
    )


def _of_the_script(facts: StudyFacts) -> Iterator[Block]:
    """What a training script decided itself."""
    if not facts.script or not facts.script["notes"]:
        return
    yield Subheading(text="What the script decides")
    yield Bullets(items=[say("{}.", str(note)) for note in facts.script["notes"]])
