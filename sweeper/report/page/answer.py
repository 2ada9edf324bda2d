"""The answer: what to use, how much faster it is, how sure that is, and what memory is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.core.folder import StudyFolder
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, kind_of, measurement_of
from sweeper.core.quantities import format_bytes, format_rate
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
    KeyFact,
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
from sweeper.report.page.words import capital, counted, ranks, share, times
from sweeper.report.table import MAIN_SETTINGS
from sweeper.report.verdict import gain_of_the_search, verdict


def answer(facts: StudyFacts) -> Section:
    """Without a winner it says what to do about that."""
    blocks = _without(facts) if facts.winner is None else _with(facts, facts.winner)
    return Section(name="answer", title="The answer", blocks=tuple(blocks))


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
    tone: Tone = "neutral" if best is facts.baseline else "good"
    yield Callout(tone=tone, text=say("{}.", capital(verdict(facts.how))))
    yield KeyFacts(facts=tuple(_key_facts(facts, best)))
    yield _settings(facts, best)
    yield from _start(facts, best)
    if missing := not_in_the_json(best):
        yield Paragraph(text=marked(missing))
    else:
        yield Paragraph(
            text=say("`best/ds_config.json` carries all of it: any DeepSpeed script can read it.")
        )
    if facts.ds_config:
        yield Copyable(
            label="best/ds_config.json", text=facts.ds_config, language="json", folded=True
        )
    yield Copyable(
        label="To see whether the gain still holds",
        text=f"python -m sweeper verify {facts.place}",
        language="sh",
    )


def _key_facts(facts: StudyFacts, best: Trial) -> Iterator[KeyFact]:
    rate, peak = facts.best_rate(best), facts.best_peak(best)
    yield KeyFact(
        label="Tokens per second",
        value=format_rate(rate or 0.0),
        note=_step(best),
    )
    yield _gain(facts, best)
    yield _certainty(facts, best)
    limit = best.memory_limit_bytes
    yield KeyFact(
        label="Memory used",
        value=format_bytes(peak or 0),
        note=f"peak of the fullest rank{_against(facts, best, peak)}",
    )
    left = limit - (peak or 0)
    yield KeyFact(
        label="Memory left",
        value=format_bytes(left) if limit else "unknown",
        note=f"{share(left / limit)} of the limit of {format_bytes(limit)} a rank"
        if limit
        else "no limit was set: hardware.memory_limit sets one",
        tone="caution" if limit and left < 0.05 * limit else "neutral",
    )


def _step(best: Trial) -> str:
    m = _measurement(best)
    return (
        f"{m.samples_per_second:.4g} samples/s, {m.median_step_seconds:.4g} s a step in the search"
    )


def _against(facts: StudyFacts, best: Trial, peak: int | None) -> str:
    theirs = facts.best_peak(facts.baseline)
    if best is facts.baseline or not theirs or not peak:
        return ""
    return f"; {times(peak / theirs)} the baseline's {format_bytes(theirs)}"


def _gain(facts: StudyFacts, best: Trial) -> KeyFact:
    label = "Gain over the baseline"
    if best is facts.baseline:
        return KeyFact(
            label=label, value="none", note="your own options are the best that was found"
        )
    finals = facts.finals
    if facts.decided_by_finals and finals is not None:
        gain = finals.gain
        if gain is None:
            return KeyFact(
                label=label, value="unknown", note="the baseline was not measured beside it"
            )
        clear = gain.low > 1.0
        return KeyFact(
            label=label,
            value=times(gain.value),
            note=f"95 % interval {gain.low:.2f} to {gain.high:.2f}, "
            f"{counted(len(finals.rounds), 'round')} in turns",
            tone="good" if clear else "caution",
        )
    if not isinstance(facts.baseline.outcome, Measured):
        why = kind_of(facts.baseline.outcome)
        return KeyFact(label=label, value="unknown", note=f"the baseline (trial 0) is {why}")
    ratio, doubt = gain_of_the_search(_measurement(best), _measurement(facts.baseline))
    return KeyFact(
        label=label,
        value=times(ratio),
        note=f"± {doubt:.2f}, the spread of the steps; each was measured once",
        tone="good" if ratio - 1 > doubt else "caution",
    )


def _certainty(facts: StudyFacts, best: Trial) -> KeyFact:
    label, finals = "How sure", facts.finals
    if not facts.decided_by_finals or finals is None:
        return KeyFact(
            label=label,
            value="measured once",
            note="no finals were run: a second run may differ by more than the steps of one do",
            tone="caution",
        )
    rounds = counted(len(finals.rounds), "round")
    if finals.tied_with:
        others = ", ".join(str(n) for n in finals.tied_with)
        word = "trial" if len(finals.tied_with) == 1 else "trials"
        return KeyFact(
            label=label,
            value="a tie",
            note=f"not told apart from {word} {others} in {rounds}",
            tone="caution",
        )
    if finals.lead is None:
        return KeyFact(label=label, value="no rival", note=finals.stop_reason)
    lead = finals.lead
    return KeyFact(
        label=label,
        value="a clear lead",
        note=f"{times(lead.value)} ({lead.low:.2f} to {lead.high:.2f}) the runner-up, trial "
        f"{finals.runner_up}, in {rounds} of fresh processes",
        tone="good",
    )


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
    where = say(", in {}", Code(start.folder)) if start.folder else ""
    yield Paragraph(text=say("It was measured on {}. To train with it{}:", ranks(best), where))
    if start.changes:
        yield Bullets(items=[say("First {}", change) for change in start.changes])
    yield Copyable(label="Command to run", text=start.command, language="sh")


def _measurement(trial: Trial) -> Measurement:
    measurement = measurement_of(trial.outcome)
    assert measurement is not None
    return measurement
