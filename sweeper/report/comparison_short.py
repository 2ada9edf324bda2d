"""The first that is told of studies side by side: whether they can be compared, and what came of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sweeper.core.outcome import became, kind_of
from sweeper.core.quantities import format_bytes
from sweeper.core.trial import Trial
from sweeper.report.compared_study import ComparedStudy
from sweeper.report.comparison import Comparison, times
from sweeper.report.knobs import shown_value
from sweeper.report.page.answer import changed_settings
from sweeper.report.page.blocks import Block, Bullets, Callout, Code, Text, listed, say
from sweeper.report.page.words import counted, options

_MOST_NAMED = 4


def may_be_compared(found: Comparison) -> Iterator[Block]:
    """In what environments and work are not the same, or that they are."""
    if found.unequal_environments:
        yield Callout(
            tone="caution",
            text=say(
                "These studies ran in unequal environments, which differ in {}: a difference between "
                "their numbers may be the environment's, and their trials are not ranked together.",
                _some(found.unequal_environments),
            ),
        )
    if found.unequal_training:
        yield Callout(
            tone="caution",
            text=say(
                "Their trials do not train the same, they differ in {}: a token of one is not the work of a "
                "token of another, and they are not ranked together.",
                _some(found.unequal_training),
            ),
        )
    if found.ranked_together:
        hosts = " (on another host of the same kind)" if found.environment else ""
        yield Callout(
            tone="neutral",
            text=say(
                f"They ran in equal environments{hosts} and train the same: their trials are ranked "
                "together below. They did not take turns: what slows a machine on one day is in the "
                "numbers of that day."
            ),
        )


def _some(names: Sequence[str]) -> Text:
    """Of many the first few; a table below has them all."""
    if len(names) <= _MOST_NAMED + 1:
        return options(names)
    return (
        *listed([Code(n) for n in names[:_MOST_NAMED]]),
        f" and {len(names) - _MOST_NAMED} more",
    )


def in_short(found: Comparison) -> Bullets:
    """Each study against the first, where both have a winner."""
    first, *others = found.studies
    items = [
        say(f"Nothing was measured in {{}}: {outcomes(study)}.", Code(study.label))
        for study in found.studies
        if study.winner is None
    ]
    for other in others:
        if other.winner is not None and first.winner is not None:
            items += _against(found, (first, first.winner), (other, other.winner))
        elif other.winner is not None:
            items.append(_alone(other))
    if first.winner is not None and not any(other.winner for other in others):
        items.append(_alone(first))
    return Bullets(items=items)


def _alone(study: ComparedStudy) -> Text:
    """Of a study that has no other to be held against."""
    return say(f"The gain of {{}} over its own baseline: {gain(study)}.", Code(study.label))


def outcomes(study: ComparedStudy) -> str:
    """``"3 trials: 2 crashed, 1 out-of-memory"``"""
    kinds = Counter(kind_of(trial.outcome) for trial in study.trials)
    of_each = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"{counted(len(study.trials), 'trial')}: {of_each}"


def _against(
    found: Comparison, one: tuple[ComparedStudy, Trial], two: tuple[ComparedStudy, Trial]
) -> Iterator[Text]:
    """The second study with its winner, as told against the first."""
    (first, reference), (other, winner) = one, two
    names = (Code(other.label), Code(first.label))
    ratio = times(other, winner, first, reference)
    if ratio is not None:
        how = "95 % interval of both finals" if ratio.interval else "each ran once"
        doubt = "" if ratio.is_clear else "; that is within the noise"
        yield say(
            f"The winner of {{}}, trial {winner.number}, reaches {ratio} times the tokens/s of "
            f"the winner of {{}}, trial {reference.number} ({how}){doubt}.",
            *names,
        )
    yield say(
        f"The gain of each over its own baseline: {{}} {gain(other)}; {{}} {gain(first)}.", *names
    )
    peaks = [format_bytes(s.best_peak(t) or 0) for s, t in ((other, winner), (first, reference))]
    yield say(f"The fullest rank of {{}} takes {peaks[0]}, that of {{}} {peaks[1]}.", *names)
    fixed = {d.name for d in found.fixed}
    changed = [n for n in changed_settings(winner, reference) if n not in fixed]
    if changed:
        values = listed([Code(f"{n}={shown_value(winner.settings.get(n))}") for n in changed])
        yield say("The winner of {} has {}, unlike that of {}.", names[0], values, names[1])
    else:
        but = ", but for what differs between the two studies anyhow" if found.fixed else ""
        yield say(f"Both chose the same settings{but}.")


def gain(study: ComparedStudy) -> str:
    """The winner's throughput over the baseline's, with its interval or its spread."""
    finals, winner, baseline = study.how.finals, study.winner, study.baseline
    if winner is None:
        return "none, nothing was measured"
    if winner.number == baseline.number:
        return "none, the baseline itself won"
    if finals is not None and finals.winner == winner.number and finals.gain is not None:
        return str(finals.gain)
    ratio = times(study, winner, study, baseline)
    if ratio is None:
        return f"not told, the baseline {became(baseline.outcome)}"
    return f"{ratio}, each of the two ran once"
