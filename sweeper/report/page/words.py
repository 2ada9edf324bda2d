"""How numbers, trials and options are written on every part of the page."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.core.quantities import format_bytes
from sweeper.core.ratios import short, short_spread
from sweeper.core.trial import Trial
from sweeper.report.effects import Compared
from sweeper.report.page.blocks import Code, Link, Text, listed

# More trials than this are counted in a sentence, not listed.
MANY = 12


def times(value: float) -> str:
    """``"2.16 ×"``"""
    return f"{short(value)} ×"


def with_doubt(pair: Compared) -> str:
    """A ratio with its interval, or with the spread of the steps behind it; whether it is an estimate."""
    if pair.interval is not None:
        return f"{times(pair.times)} ({short(pair.interval.low)} to {short(pair.interval.high)})"
    early = ", an estimate" if pair.estimate else ""
    return f"{times(pair.times)} (± {short_spread(pair.spread, pair.times)}{early})"


def more_bytes(num_bytes: int) -> str:
    """``"+12 MiB"``"""
    shown = format_bytes(abs(num_bytes))
    if abs(num_bytes) < 2**19:
        return "the same"
    return f"{'+' if num_bytes > 0 else '−'}{shown}"


def share(part: float) -> str:
    """A percentage that does not round to nothing."""
    return f"{part:.0%}" if part >= 0.095 or part == 0 else f"{part:.1%}"


def trial_link(number: int) -> Link:
    """To its folder."""
    return Link(str(number), f"trials/{number:04d}/")


def trial_links(numbers: Iterable[int]) -> Text:
    """Of a crowd the first few, and how many more."""
    numbers = list(numbers)
    shown = listed([trial_link(n) for n in numbers[:MANY]])
    rest = len(numbers) - MANY
    return (*shown, f" and {rest} more") if rest > 0 else shown


def options(names: Iterable[str]) -> Text:
    """``a``, ``b`` and ``c``, as code."""
    *most, last = (Code(name) for name in names)
    return (*listed(most), " and ", last) if most else (last,)


def ranks(trial: Trial) -> str:
    """``"2 cpu ranks"``"""
    return counted(int(trial.settings["hardware.ranks"]), _rank(trial))


def _rank(trial: Trial) -> str:
    return f"{trial.settings['hardware.accelerator']} rank"


def counted(number: int, what: str) -> str:
    """``"1 trial"``, ``"2 trials"``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def were(number: int) -> str:
    """``"1 was"``, ``"2 were"``."""
    return f"{number:,} {'was' if number == 1 else 'were'}"


def capital(text: str) -> str:
    """As a sentence begins."""
    return text[:1].upper() + text[1:]


def one_line(text: str) -> str:
    """Without the breaks in it."""
    return " ".join(text.split())
