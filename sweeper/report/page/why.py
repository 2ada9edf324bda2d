"""Why it won: what each changed option did, what the other values gave, and where a step's time goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, kind_of, measurement_of, reason_of
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.alternatives import Alternative, alternatives
from sweeper.report.effects import Effect, effects
from sweeper.report.page.blocks import (
    Bars,
    Block,
    Bullets,
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
from sweeper.report.page.words import (
    counted,
    more_bytes,
    options,
    rate,
    share,
    times,
    trial_link,
    with_doubt,
)

_PARTS = ("forward", "backward", "optimizer", "rest")
# Options that buy memory with time, and the value at which they do not.
_SAVERS = {"offload": "none", "offload.optimizer": "none", "checkpointing": "none"}
_PLENTY = 0.25
# More values than this that nobody tried are counted, not listed.
_MOST_UNTRIED = 6


def why(facts: StudyFacts) -> Section | None:
    """None where nothing was measured."""
    if facts.winner is None:
        return None
    blocks = [
        *_changes(facts, facts.winner),
        *_others(facts, facts.winner),
        *_breakdown(facts, facts.winner),
        *_layouts(facts),
    ]
    return Section(name="why", title="Why", blocks=blocks)


def _changes(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    if best is facts.baseline:
        yield Paragraph(text=say("The baseline is the winner: nothing was changed."))
        return
    found = effects(
        best,
        facts.baseline,
        facts.trials,
        facts.knobs,
        finals=facts.finals,
        importances=facts.importances,
    )
    if not found:
        return
    yield Subheading(text="What changed against the baseline")
    yield Table(
        caption="Each changed option by itself",
        head=("option", "baseline", "winner", "tokens/s", "memory", "how it is known"),
        rows=[_effect_row(effect) for effect in found],
        numeric=frozenset({3, 4}),
    )
    if any(effect.pair is None for effect in found):
        yield Paragraph(
            text=say(
                "An importance is an option's share in how the throughputs of all trials differ "
                "(PED-ANOVA). It is no measured effect, and has no direction."
            )
        )


def _effect_row(effect: Effect) -> tuple[Cell, ...]:
    changed: tuple[Cell, ...] = ((Code(effect.knob),), effect.before, effect.after)
    pair = effect.pair
    if pair is None:
        if effect.importance is None:
            known = "not measured apart: no two trials differ in this alone"
            return (*changed, "unknown", "unknown", known)
        known = "not measured apart: importance over all trials"
        return (*changed, f"importance {effect.importance:.2f}", "unknown", known)
    both: Text = say("{} against {}", trial_link(pair.trial), trial_link(pair.other))
    where = {
        "winner": "measured, beside the winner: trial {}",
        "baseline": "measured, beside the baseline: trial {}",
        "elsewhere": f"measured, the median of {counted(effect.pairs, 'pair')} that "
        f"differ{'s' if effect.pairs == 1 else ''} in this alone: trial {{}}",
    }[effect.near]
    finals = ", in the finals" if pair.interval is not None else ""
    doubt = "" if pair.is_clear else "; within the noise"
    early = "; an estimate, one was stopped early" if pair.estimate else ""
    return (
        *changed,
        with_doubt(pair),
        more_bytes(pair.more_bytes),
        (*say(where, both), f"{finals}{doubt}{early}"),
    )


def _others(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    found = alternatives(best, facts.trials, facts.knobs, facts.finals)
    if not found:
        return
    yield Subheading(text="Why not the others")
    yield from _not_needed(facts, best)
    tried = [a for a in found if a.nearest is not None or a.failed is not None or a.forbidden]
    if tried:
        yield Table(
            caption="Every other value, by the trial that has it and is otherwise nearest to the winner",
            head=("option", "winner", "instead", "tokens/s against the winner", "what is known"),
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
                (*_separated(named), *more),
            )
        )


def _separated(named: list[Code]) -> Text:
    pieces: list[Any] = []
    for name in named:
        pieces += [", ", name] if pieces else [name]
    return tuple(pieces)


def _not_needed(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    """Offload and recomputation buy memory: whether there was any need to."""
    peak, limit = facts.best_peak(best), best.memory_limit_bytes
    off = [n for n, neutral in _SAVERS.items() if facts.knobs.value(best, n) == neutral]
    if not off or not peak or not limit or 1 - peak / limit < _PLENTY:
        return
    one = len(off) == 1
    yield Bullets(
        items=[
            say(
                f"{{}} trade{'s' if one else ''} speed for memory, and memory is not short: the winner "
                f"leaves {{}} ({{}}) of its limit free.",
                options(off),
                format_bytes(limit - peak),
                share(1 - peak / limit),
            )
        ]
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


def _breakdown(facts: StudyFacts, best: Trial) -> Iterator[Block]:
    who = [("baseline", facts.baseline)] if best is not facts.baseline else []
    rows = []
    for name, trial in [*who, (f"trial {best.number}", best)]:
        m = measurement_of(trial.outcome)
        if m is not None and m.breakdown:
            rows.append((name, [m.breakdown.get(part, 0.0) for part in _PARTS]))
    if rows:
        yield Subheading(text="Where a step's time goes")
        yield Bars(
            caption="Median seconds of a step by part, measured apart, with synchronisation",
            parts=_PARTS,
            rows=rows,
        )


def _layouts(facts: StudyFacts) -> Iterator[Block]:
    """The ways in which the model was spread over the ranks, each by the fastest trial of its kind."""
    fastest: dict[str, tuple[Trial, Measurement]] = {}
    for trial, m in facts.measured:
        if isinstance(trial.outcome, Measured):
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
        head=("layout", "trial", "ZeRO", "tokens/s (median ± MAD)", "step (s)", "peak a rank"),
        rows=[
            (
                layout,
                (trial_link(trial.number),),
                str(trial.settings["zero.stage"]),
                rate(m),
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
