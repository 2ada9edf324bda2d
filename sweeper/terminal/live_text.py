"""The lines of the live view, from what there is to be seen: text and styles, no terminal."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.core.finalists import Contest
from sweeper.core.outcome import measurement_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.terminal.pace import in_words, left
from sweeper.terminal.state import Finals, InHand, State, gain_of
from sweeper.terminal.words import Line, Span, fitted, printable

_LABEL = 9
# In the order of interest; the words for what the outcomes' kinds are called in files.
_COUNTS = {
    "measured": "measured",
    "stopped": "beaten early",
    "out-of-memory": "out of memory",
    "diverged": "diverged",
    "timed-out": "timed out",
    "crashed": "crashed",
    "unsupported": "unsupported",
    "infeasible": "ruled out",
}
HINT = "Ctrl-C stops after this trial, a second one now"


def live_lines(state: State, now: float, width: int) -> list[Line]:
    """Each fits ``width``."""
    return [_cut(line, width) for line in _lines(state, now, width)]


def _lines(state: State, now: float, width: int) -> Iterator[Line]:
    in_study = state.budget is not None
    if in_study:
        yield [("─" * width, "dim")]
    if state.in_hand is not None:
        yield from _in_hand(state, state.in_hand, now)
    elif in_study:  # as high as with a trial, so that the view does not jump
        yield _labelled("now", "choosing the next trial" if state.finals is None else "finals")
        yield [("", "")]
        yield _labelled("memory", "")
    if state.finals is not None:
        yield from _finals(state.finals)
    if not in_study:
        return
    if state.finals is None:
        yield _labelled("best", *_best(state))
    yield _labelled("so far", _counts(state))
    yield _labelled("time", _time(state, now))
    yield [(" " * _LABEL, ""), (state.notice, "bold") if state.notice else (HINT, "dim")]


def _labelled(label: str, text: str, style: str = "") -> Line:
    return [(f"{label:<{_LABEL}}", "dim"), (text, style)]


def _in_hand(state: State, in_hand: InHand, now: float) -> Iterator[Line]:
    step = ""
    if in_hand.step is not None:
        step = f", step {in_hand.step}" + (f" of {in_hand.steps}" if in_hand.steps else "")
    spent = f"{max(now - in_hand.began_at, 0.0):.0f} s"
    yield [
        (f"{'now':<{_LABEL}}" if state.budget else "", "dim"),
        (_title(state, in_hand), "bold"),
        (f"  {in_hand.phase}{step}  ", ""),
        (spent, "dim"),
    ]
    settings, memory = " ".join(in_hand.settings), _memory(in_hand)
    if state.budget is not None:
        yield [(" " * _LABEL, ""), (settings, "")]
        yield _labelled("memory", memory)
        return
    for text in filter(None, (settings, memory)):
        yield [(f"  {text}", "")]


def _title(state: State, in_hand: InHand) -> str:
    if state.finals is not None:
        contest = state.finals.contest
        return f"round {state.finals.round} of at most {contest.max_rounds}, {in_hand.title}"
    if state.budget is None:
        return in_hand.title
    return f"{in_hand.title}, run {len(state.search_seconds) + 1} of {state.budget.trials}"


def _memory(in_hand: InHand) -> str:
    parts = []
    if in_hand.memory_bytes:
        parts.append(f"{format_bytes(in_hand.memory_bytes)} now")
    if (p := in_hand.predicted) is not None:
        more_or_less = format_bytes(2 * p.deviation_bytes)
        parts.append(f"peak predicted {format_bytes(p.mean_bytes)} ±{more_or_less}")
    if in_hand.limit_bytes and parts:
        parts.append(f"limit {format_bytes(in_hand.limit_bytes)}")
    return ", ".join(parts)


def _finals(finals: Finals) -> Iterator[Line]:
    contest = finals.contest
    for index, number in enumerate(contest.entrants):
        told = [_of_round(finals, r, number) for r in range(1, finals.round + 1)]
        yield [
            (f"{'tokens/s' if index == 0 else '':<{_LABEL}}", "dim"),
            (f"{_entrant(contest, number):<10}", ""),
            ("  ".join(told), ""),
        ]


def _of_round(finals: Finals, round_number: int, number: int) -> str:
    """Empty for who sits it out, or is yet to come."""
    if (round_number, number) not in finals.rates:
        return " " * 8
    rate = finals.rates[round_number, number]
    return f"{'failed' if rate is None else format_rate(rate):>8}"


def _entrant(contest: Contest, number: int) -> str:
    return "baseline" if number == contest.baseline else f"trial {number}"


def _best(state: State) -> Span:
    best = state.best
    m = measurement_of(best.outcome) if best is not None else None
    if best is None or m is None:
        return "nothing measured yet", "dim"
    gain = gain_of(state, best)
    what = "the baseline" if best.number == 0 else f"trial {best.number}"
    text = f"{what}: {format_rate(m.tokens_per_second)} tokens/s, {format_bytes(m.peak_bytes)}"
    return (text if gain is None else f"{text}, {gain:.2f} times the baseline"), "bold"


def _counts(state: State) -> str:
    told = [f"{n} {word}" for kind, word in _COUNTS.items() if (n := state.counts.get(kind))]
    return ", ".join(told) or "no trial has ended"


def _time(state: State, now: float) -> str:
    passed = max(now - state.began_at, 0.0)
    ahead = left(state, now)
    if ahead is None:
        told = "what is left is known after the first trial"
    elif state.finals is not None:
        told = f"up to about {in_words(ahead.finals)} of finals left"
    else:
        told = f"about {in_words(ahead.search)} of search left"
        if ahead.finals:
            told += f", then up to {in_words(ahead.finals)} of finals"
    return f"{_clock(passed)} so far, {told}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _cut(line: Line, width: int) -> Line:
    """Its spans within ``width``, the last one with an ellipsis where it does not fit."""
    found: Line = []
    room = width
    for text, style in line:
        found.append((fitted(printable(text), room), style))
        room -= len(found[-1][0])
        if room <= 0:
            break
    return found
