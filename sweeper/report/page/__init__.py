"""What a report says, decided once: sections of blocks, for whatever shows them."""

from __future__ import annotations

from sweeper.report.page.answer import answer
from sweeper.report.page.blocks import Code, Page, say
from sweeper.report.page.everything import everything
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.failures import failures
from sweeper.report.page.pictures import pictures
from sweeper.report.page.trust import trust
from sweeper.report.page.why import why
from sweeper.report.page.words import counted, ranks

_BATCH, _LENGTH = "workload.global_batch_size", "workload.sequence_length"
_SECTIONS = (answer, why, pictures, failures, trust, everything)


def report_page(facts: StudyFacts) -> Page:
    """A section that has nothing to say is left out."""
    first = facts.baseline.settings
    whose = " in the baseline" if {_BATCH, _LENGTH} & set(facts.unequal_work) else ""
    subtitle = say(
        f"{{}} on {{}}, {counted(len(facts.trials), 'trial')}, "
        f"global batch {first[_BATCH]:,} × {first[_LENGTH]:,} tokens{whose}",
        Code(str(first.get("model.name", first.get("model._target_")))),
        ranks(facts.baseline),
    )
    found = (section(facts) for section in _SECTIONS)
    sections = tuple(section for section in found if section is not None)
    return Page(title=facts.title, subtitle=subtitle, sections=sections)
