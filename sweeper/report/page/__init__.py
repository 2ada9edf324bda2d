"""What a report says, decided once: sections of blocks, for whatever shows them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sweeper.report.failures import Failures
from sweeper.report.page.answer import answer
from sweeper.report.page.blocks import Block, Bullets, Callout, Code, Page, Section, say
from sweeper.report.page.everything import everything
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.failures import failures as what_failed
from sweeper.report.page.pictures import pictures
from sweeper.report.page.trust import trust
from sweeper.report.page.why import why
from sweeper.report.page.words import counted, ranks

_BATCH, _LENGTH = "workload.global_batch_size", "workload.sequence_length"
_SECTIONS: tuple[Callable[[StudyFacts], Section | None], ...] = (
    *(answer, why, pictures),
    *(what_failed, trust, everything),
)


def report_page(facts: StudyFacts, failures: Failures) -> Page:
    """A section that has nothing to say is left out.

    What could not be made stands below the answer, also where it is one of the sections.
    """
    first = facts.baseline.settings
    whose = " in the baseline" if {_BATCH, _LENGTH} & set(facts.unequal_work) else ""
    subtitle = say(
        f"{{}} on {{}}, {counted(len(facts.trials), 'trial')}, "
        f"global batch {first[_BATCH]:,} × {first[_LENGTH]:,} tokens{whose}",
        Code(str(first.get("model.name", first.get("model._target_")))),
        ranks(facts.baseline),
    )
    found: list[Section | None] = [
        failures.attempt(
            f"the section {make.__name__}", functools.partial(make, facts), _not_made(make.__name__)
        )
        for make in _SECTIONS
    ]
    sections = [section for section in found if section is not None]
    told = [*_left_out(failures.left_out)]
    told += _told(failures.lines) if failures.lines else ()
    if told:
        sections[0] = replace(sections[0], blocks=(*sections[0].blocks, *told))
    return Page(title=facts.title, subtitle=subtitle, sections=tuple(sections))


def _not_made(name: str) -> Section | None:
    """The answer's place is never empty."""
    return Section(name=name, title="The answer", blocks=()) if name == answer.__name__ else None


def _left_out(lines: Sequence[str]) -> Iterator[Block]:
    if lines:
        yield Callout(tone="caution", text=say("Files of this study are damaged:"))
        yield Bullets(items=[(line,) for line in lines])


def _told(lines: Sequence[str]) -> Iterator[Block]:
    yield Callout(tone="caution", text=say("Something could not be made; all else is whole:"))
    yield Bullets(items=[(line,) for line in dict.fromkeys(lines)])
