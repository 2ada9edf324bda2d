"""What a study did not look at, and what would look at it."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.core.commands import go_on
from sweeper.core.entrants import finalists_of
from sweeper.core.outcome import Infeasible, Measured
from sweeper.report.page.blocks import Code, Text, say
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.words import counted, options, were


def unexplored(facts: StudyFacts) -> Iterator[Text]:
    """The rest of the space, options that never varied, finals that were not, and training itself."""
    ruled = (facts.ruled_out or {}).get("rules", {})
    space = facts.space_size
    tried = sum(not isinstance(t.outcome, Infeasible) for t in facts.trials)
    out = sum(found["candidates"] for found in ruled.values())
    hoped = "A faster one" if facts.measured else "One that works"
    if space:
        without = f"{were(out)} ruled out without a trial, " if out else ""
        left = max(space - out - tried, 0)
        rest = f", about {were(left)} not looked at. {hoped} may be among them." if left else "."
        yield say(
            f"The space has {counted(space, 'candidate')}: {without}{were(tried)} tried{rest}"
        )
    elif facts.study.get("space"):
        yield say(
            f"Of a space that is too large to list {were(tried)} tried. {hoped} may be among the others."
        )
    else:
        yield say(f"Of a grid {were(tried)} run; nothing else was looked at.")
    fixed = _fixed(facts)
    if fixed:
        yield say("Every trial had {} as given: no other value was tried.", fixed)
    if facts.finals is None and facts.winner is not None:
        yield from _no_finals(facts)
    if facts.measured:
        yield say(
            "Speed on this machine and these versions, at this global batch, was measured; how well the "
            "model learns in a long training was not."
        )


def _no_finals(facts: StudyFacts) -> Iterator[Text]:
    """What kept them out, and what would bring them about."""
    once = "No finals: the winner was measured once, in one process."
    asked = int((facts.study.get("sweeper") or {}).get("finalists") or 0)
    entrants = set(finalists_of(facts.trials, asked, facts.how.objective))
    if isinstance(facts.baseline.outcome, Measured):
        entrants.add(facts.baseline.number)
    if not facts.study:
        yield say(f"{once} A study, `hydra/sweeper=optuna`, measures the best few again.")
    elif asked and (facts.was_broken_off or len(entrants) > 1):
        yield say(f"{once} The study ended before them; {{}} goes on.", Code(go_on(facts.place)))
    elif len(facts.able_to_win) < 2:
        yield say(f"{once} There was nothing to compare it with.")
    else:
        alone = " It is the baseline, and no other was asked for." if asked else ""
        yield say(
            f"{once}{alone} {{}} measures the best few again.",
            Code(go_on(facts.place, "hydra.sweeper.finalists=3")),
        )


def _fixed(facts: StudyFacts) -> Text:
    """Of the options that most people turn those that never varied."""
    first = facts.trials[0].settings
    varied = {s for owned in facts.knobs.settings.values() for s in owned}
    groups = ("zero.stage", "offload.optimizer", "precision.mode", "batch.micro_size",
              "checkpointing.every_nth_block", "compile.mode", "hardware.ranks")  # fmt: skip
    fixed = [n for n in groups if n not in varied and n in first]
    return options(f"{n}={first[n]}" for n in fixed) if fixed else ()
