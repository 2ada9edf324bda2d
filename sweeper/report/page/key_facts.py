"""The few numbers that most readers came for: rate, gain, how sure that is, memory used and left."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.core.finalists import FinalistsResult
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, became, measurement_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.ratios import short, short_spread
from sweeper.core.rounds import log_rates
from sweeper.core.trial import Trial
from sweeper.report.page.blocks import KeyFact
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.words import counted, share, times
from sweeper.report.verdict import gain_of_the_search, gained


def key_facts(facts: StudyFacts, best: Trial) -> Iterator[KeyFact]:
    """Of a study with a winner, each with what it means or how sure it is."""
    rate, peak = facts.best_rate(best), facts.best_peak(best)
    yield KeyFact(
        label="Tokens per second",
        value=format_rate(rate or 0.0),
        note=_step(facts, best, rate or 0.0),
    )
    yield _gain(facts, best)
    yield _certainty(facts, best)
    limit = best.memory_limit_bytes
    yield KeyFact(
        label="Memory used",
        value=format_bytes(peak or 0),
        note=f"peak of the fullest rank{_against(facts, best, peak)}",
    )
    yield _left(limit, limit - (peak or 0))


def _left(limit: int, left: int) -> KeyFact:
    """Bytes; more than the limit is what a process may touch for an instant, and what the system still gave."""
    label = "Memory left"
    if not limit:
        note = "no limit was set: hardware.memory_limit sets one"
        return KeyFact(label=label, value="unknown", note=note)
    of_it = f"of the limit of {format_bytes(limit)} a rank"
    if left < 0:
        over = f"over the limit by {format_bytes(-left)}, {share(-left / limit)} {of_it}"
        return KeyFact(label=label, value="none", note=over, tone="caution")
    return KeyFact(
        label=label,
        value=format_bytes(left),
        note=f"{share(left / limit)} {of_it}",
        tone="caution" if left < 0.05 * limit else "neutral",
    )


def _step(facts: StudyFacts, best: Trial, rate: float) -> str:
    """Of the same source as the rate."""
    m = _measurement(best)
    samples, seconds = rate * m.samples_per_step / m.tokens_per_step, m.tokens_per_step / rate
    how = "measured once, in the search"
    if facts.decided_by_finals and facts.finals is not None:
        rounds = len(log_rates(facts.finals.rounds, best.number))
        how = f"the mean of its {counted(rounds, 'round')}"
        if (spread := facts.finals.spread(best.number)) is not None:
            how += f" (standard deviation {share(spread)})"
    return f"{samples:.4g} samples/s, {seconds:.4g} s a step: {how}"


def _against(facts: StudyFacts, best: Trial, peak: int | None) -> str:
    theirs = facts.best_peak(facts.baseline)
    if best is facts.baseline or not theirs or not peak:
        return ""
    return f"; {times(peak / theirs)} the baseline's {format_bytes(theirs)}"


def _own(facts: StudyFacts) -> str:
    return "the grid's first point" if facts.how.of_a_grid else "your own options"


def _gain(facts: StudyFacts, best: Trial) -> KeyFact:
    label = "Gain over the baseline"
    if len(facts.able_to_win) < 2 and best is facts.baseline:
        return KeyFact(
            label=label,
            value="nothing to compare",
            note=f"only {_own(facts)} gave a number that counts",
        )
    if best is facts.baseline:
        return KeyFact(
            label=label,
            value="none",
            note=f"{_own(facts)} {'is' if facts.how.of_a_grid else 'are'} the best that was found",
        )
    finals = facts.finals
    if facts.decided_by_finals and finals is not None:
        return _gain_of_the_finals(facts, finals)
    if not isinstance(facts.baseline.outcome, Measured):
        why = became(facts.baseline.outcome)
        return KeyFact(label=label, value="unknown", note=f"the baseline (trial 0) {why}")
    won, theirs = _measurement(best), _measurement(facts.baseline)
    ratio, doubt = gain_of_the_search(won, theirs)
    if facts.how.objective.kind == "memory":
        return KeyFact(
            label="Memory beside the baseline's",
            value=times(won.peak_bytes / theirs.peak_bytes),
            note=f"of {format_bytes(theirs.peak_bytes)}, at {times(ratio)} (± {short_spread(doubt, ratio)}) its tokens/s; each "
            "was measured once",
            tone="good" if gained(facts.how) == "clearly" else "caution",
        )
    return KeyFact(
        label=label,
        value=times(ratio),
        note=f"± {short_spread(doubt, ratio)}, the spread of the steps; each was measured once",
        tone="good" if gained(facts.how) == "clearly" else "caution",
    )


def _gain_of_the_finals(facts: StudyFacts, finals: FinalistsResult) -> KeyFact:
    label, found, kind = "Gain over the baseline", finals.advantage, finals.objective.kind
    if found is None:
        return KeyFact(label=label, value="unknown", note="the baseline was not measured beside it")
    value, low, high, more = found.value, found.low, found.high, ""
    if kind == "memory":
        label, value, low, high = "Memory beside the baseline's", 1 / value, 1 / high, 1 / low
        more = f", at {finals.gain} times its tokens/s"
    if kind == "cost":
        more = ", in tokens/s of each rank"
    return KeyFact(
        label=label,
        value=times(value),
        note=f"95 % interval {short(low)} to {short(high)}, "
        f"{counted(len(finals.rounds), 'round')} in turns{more}",
        tone="good" if gained(facts.how) != "unclear" else "caution",
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
    lead, rival = finals.lead, f"the runner-up, trial {finals.runner_up}"
    ahead = f"{times(lead.value)} ({short(lead.low)} to {short(lead.high)})"
    of_memory = finals.objective.kind == "memory"
    told = f"{rival}, needs {ahead} as much" if of_memory else f"{ahead} {rival}"
    return KeyFact(
        label=label,
        value="a clear lead",
        note=f"{told}, in {rounds} of fresh processes",
        tone="good",
    )


def _measurement(trial: Trial) -> Measurement:
    measurement = measurement_of(trial.outcome)
    assert measurement is not None
    return measurement
