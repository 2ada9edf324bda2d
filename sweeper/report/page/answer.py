"""The answer: what to use, how much faster it is, how sure that is, and what memory is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.core.commands import go_on, look_on, typed
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured, kind_of
from sweeper.core.start import start_of
from sweeper.core.trial import Trial
from sweeper.report.carried import not_in_the_json
from sweeper.report.knobs import shown_value
from sweeper.report.page.blocks import (
    Block,
    Bullets,
    Callout,
    Cell,
    Code,
    Copyable,
    KeyFacts,
    Paragraph,
    Section,
    Strong,
    Table,
    Tone,
    marked,
    say,
)
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.key_facts import key_facts
from sweeper.report.page.words import capital, ranks
from sweeper.report.table import MAIN_SETTINGS
from sweeper.report.verdict import Gained, gained, verdict

# Only a gain that is the winner's own is good news without a "but".
_TONES: dict[Gained, Tone] = {
    **{"nothing": "neutral", "unknown": "good", "clearly": "good"},
    **{"unclear": "caution", "shared": "caution"},
}


def answer(facts: StudyFacts) -> Section:
    """Without a winner it says what to do about that."""
    blocks = _without(facts) if facts.winner is None else _with(facts, facts.winner)
    return Section(name="answer", title="The answer", blocks=(*blocks, *_of_a_grid(facts)))


def _of_a_grid(facts: StudyFacts) -> Iterator[Block]:
    if facts.how.of_a_grid:
        yield Paragraph(
            text=say(
                "A plain grid has no options of the user's own beside it: what is called the baseline here "
                "is its first point, trial 0."
            )
        )


def changed_settings(trial: Trial, baseline: Trial) -> dict[str, tuple[Any, Any]]:
    """Setting -> (baseline's value, the trial's), where they differ."""
    names = dict.fromkeys([*baseline.settings, *trial.settings])
    pairs = {n: (baseline.settings.get(n), trial.settings.get(n)) for n in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _without(facts: StudyFacts) -> Iterator[Block]:
    yield Callout(tone="bad", text=say("{}.", capital(verdict(facts.how))))
    kinds = {kind_of(t.outcome) for t in facts.trials}
    yield Paragraph(text=say("There is nothing to use yet. {}", _what_next(kinds)))


def _what_next(kinds: set[str]) -> tuple[Any, ...]:
    if kinds <= {"out-of-memory", "infeasible"}:
        return say(
            "What the trials lacked stands under {}; `python -m sweeper explain` says, for the same "
            "options, what would fit, and `space=memory` searches for it.",
            Strong("what failed"),
        )
    return say(
        "The reasons stand under {}; `python -m sweeper doctor` says what this machine lacks.",
        Strong("what failed"),
    )


def _with(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    yield Callout(tone=_TONES[gained(facts.how)], text=say("{}.", capital(verdict(facts.how))))
    yield KeyFacts(facts=tuple(key_facts(facts, best)))
    yield _settings(facts, best)
    yield from _start(facts, best)
    if missing := not_in_the_json(best):
        yield Paragraph(text=marked(missing))
    elif facts.bundle is None or facts.ds_config:
        yield Paragraph(
            text=say("`best/ds_config.json` carries all of it: any DeepSpeed script can read it.")
        )
    if facts.ds_config:
        yield Copyable(
            label="best/ds_config.json", text=facts.ds_config, language="json", folded=True
        )
    for said in facts.carried:
        yield Paragraph(text=marked(said))
    yield from _later(facts, best)


def _later(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    """Nobody can verify that a baseline is faster than itself."""
    text: str | None = None
    if best is not facts.baseline:
        measured = isinstance(facts.baseline.outcome, Measured)
        label = f"To see whether {'the gain still holds' if measured else 'it still runs'}"
        text = typed("verify", facts.place)
    elif facts.can_go_on:
        label = "To look further"
        further = look_on(facts.place, facts.stop_reason)
        text = go_on(facts.place) if facts.was_broken_off else further
    if text is not None:
        yield Copyable(label=label, text=text, language="sh")


def _settings(facts: StudyFacts, best: Trial) -> Table:
    """What was changed first, then what stays."""
    changed = changed_settings(best, facts.baseline)
    searched = [s for name in facts.knobs.names for s in facts.knobs.settings[name]]
    names = dict.fromkeys([*changed, *MAIN_SETTINGS, *searched])
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        old, new = facts.baseline.settings.get(name), best.settings.get(name)
        value = Strong(shown_value(new)) if name in changed else shown_value(new)
        rows.append(((Code(name),), (value,), shown_value(old)))
    return Table(
        caption="The settings to use; what differs from the baseline comes first",
        head=("setting", f"use (trial {best.number})", "baseline"),
        rows=rows,
        marked=frozenset(range(len(changed))),
    )


def _start(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    bundle = StudyFolder(Path(facts.place)).bundle
    start = start_of(best.settings, (facts.script or {}).get("facts", {}), bundle)
    if facts.bundle is not None and not facts.bundle.issuperset(start.needs):
        yield Paragraph(text=say("It was measured on {}.", ranks(best)))
        return
    where = say(", in {}", Code(start.folder)) if start.folder else ""
    yield Paragraph(text=say("It was measured on {}. To train with it{}:", ranks(best), where))
    if start.changes:
        yield Bullets(items=[say("First {}", change) for change in start.changes])
    yield Copyable(label="Command to run", text=start.command, language="sh")
