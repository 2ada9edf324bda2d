"""What to type when a study has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from sweeper.core.commands import go_on, look_on, typed
from sweeper.core.folder import StudyFolder
from sweeper.core.hydra_text import override
from sweeper.core.outcome import kind_of
from sweeper.core.standing import Standing
from sweeper.core.start import script_facts, start_of
from sweeper.core.trial import Trial
from sweeper.terminal.words import labelled

_INDENT = 9
# By what was searched to its end: what holds more.
_WIDER = {"none": "standard", "quick": "standard", "standard": "full"} | dict.fromkeys(
    ("memory", "parallel"), "full"
)

# What it is for, and what to type or open.
Step: TypeAlias = tuple[str, str]


def next_steps(
    how: Standing,
    folder: StudyFolder,
    *,
    arguments: Sequence[str],
    interrupted: bool,
    stop_reason: str | None,
    nothing_left: bool,
    width: int | None,
) -> str:
    """Lines of what is worth doing next; ``arguments`` are those that the study was begun with.

    ``stop_reason`` is why its search came to an end; None where it was ended before that.
    ``nothing_left``: every candidate has been tried, whatever ended it.
    """
    steps: list[Step] = []
    if interrupted:
        steps.append(("go on", go_on(str(folder.path))))
    if how.winner is None:
        steps += _nothing_measured(how, folder, arguments)
    elif how.winner.number == how.trials[0].number:
        steps += _baseline_won(folder, arguments, stop_reason, nothing_left)
    else:
        steps += _somebody_won(how.winner, folder)
    # A line that is to be pasted is not broken; a terminal does that by itself.
    lines = [
        line
        for what, text in steps
        for line in labelled(what, text, None if what == "use" else width, indent=_INDENT)
    ]
    return "\n".join(["next:", *lines])


def _somebody_won(winner: Trial, folder: StudyFolder) -> Iterator[Step]:
    start = start_of(winner.settings, script_facts(folder), folder.bundle)
    if not all(file.exists() for file in start.needs):
        yield "why", str(folder.report)  # it says what of the winner could not be written
        yield "later", typed("verify", str(folder.path))
        return
    if start.folder not in (None, str(Path.cwd())):
        yield "in", start.folder
    for change in start.changes:
        yield "first", change
    yield "use", start.command
    yield "more", str(folder.bundle.readme)
    yield "later", typed("verify", str(folder.path))


def _baseline_won(
    folder: StudyFolder, arguments: Sequence[str], stop_reason: str | None, nothing_left: bool
) -> Iterator[Step]:
    yield "use", f"your own options, as they are; also in {folder.best}"
    if stop_reason is None:
        return
    further = None if nothing_left else look_on(str(folder.path), stop_reason)
    if further is not None:
        yield "look on", further
    elif wider := _WIDER.get(_space(arguments)):
        learning = override("hydra.sweeper.warm_start", str(folder.path))
        yield "look on", typed(*_again(arguments), f"space={wider}", learning)


def _space(arguments: Sequence[str]) -> str:
    chosen = [a.partition("=")[2] for a in arguments if a.startswith("space=")]
    return chosen[-1] if chosen else "standard"


def _again(arguments: Sequence[str]) -> list[str]:
    """What was typed, for a new study in another space."""
    other = ("hydra.sweep.dir=", "hydra.sweeper.warm_start=", "space=")
    return [a for a in arguments if not a.startswith(other)]


def _nothing_measured(
    how: Standing, folder: StudyFolder, arguments: Sequence[str]
) -> Iterator[Step]:
    """By what happened most often."""
    again = _again(arguments)
    plain = [a for a in again if not a.startswith(("hydra", "launch", "measure")) and "(" not in a]
    explained = not any(a.startswith("script.") for a in arguments)
    (kind, _), *_ = Counter(kind_of(t.outcome) for t in how.trials).most_common(1) or [("", 0)]
    match kind:
        case "out-of-memory":
            if explained:
                yield "why", typed("explain", *plain)
            yield "try", typed(*again, "space=memory")
        case "infeasible" if explained:
            yield "why", typed("explain", *plain)
        case "timed-out":
            yield "try", typed(*again, "measure=quick", "launch.timeout_seconds=1200")
        case "unsupported":
            yield "why", typed("doctor")
        case _:
            failed = next(t for t in how.trials if kind_of(t.outcome) == kind)
            yield "log", str(folder.trial(failed.number).stderr)
            yield "why", typed("doctor")
