"""What of a study's folder is damaged, a line each: what it costs, and what to type to have it back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from sweeper.core.contest_record import lacking_rounds
from sweeper.core.files import Damaged, seen_json
from sweeper.core.folder import BY_ANOTHER_VERSION, StudyFolder, TrialFolder
from sweeper.core.hydra_text import override
from sweeper.core.trial import Trial
from sweeper.run.kept import ds_config_of
from sweeper.run.study_record import seen_study, study_document, was_a_study

# Of one kind so many are told one by one.
_MOST = 5
_STANDS_FOR_IT = "what its finals or its settings give takes its place; type python -m sweeper verify before you rely on it"


def left_out(folder: StudyFolder, winner: Trial | None = None) -> list[str]:
    """Nothing where all is whole. Of the files that only an export needs those of ``winner`` are looked at."""
    return [
        *_of_the_study(folder),
        *_few([*_of_trials(folder)]),
        *_few([*_of_the_finals(folder)]),
        *_few([*_of_what_is_beside(folder)]),
        *(_of_the_winner(folder, winner) if winner is not None else ()),
    ]


def type_resume(folder: StudyFolder) -> str:
    """What goes on with the study, and measures what is lost."""
    if "arguments" in study_document(folder):
        return f"type python -m sweeper resume={shlex.quote(str(folder.path))}"
    return (
        "type the command line that began the study, with "
        f"{shlex.quote(override('hydra.sweep.dir', str(folder.path)))} hydra.sweeper.resume=true behind it"
    )


def _few(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST
    return lines if more <= 0 else [*lines[:_MOST], f"and {more} more files like these"]


def _of_the_study(folder: StudyFolder) -> Iterator[str]:
    seen = seen_study(folder)
    if seen is None and was_a_study(folder):
        seen = Damaged(folder.study, "is missing")
    if isinstance(seen, Damaged):
        yield f"{seen}: how the study was made is left out; {type_resume(folder)} to have it written anew"


def _of_trials(folder: StudyFolder) -> Iterator[str]:
    in_rounds = {n for found in folder.finalists.read_rounds() for n in found}
    for damaged in folder.damaged():
        number = int(damaged.path.parent.name)
        if damaged.why == BY_ANOTHER_VERSION:
            yield f"{damaged}: trial {number} is left out; type the command with that version"
            continue
        cost = "stands as the finals measured it" if number in in_rounds else "is left out"
        yield f"{damaged}: trial {number} {cost}; {_again(folder)}"
    yield from _without_a_record(folder)


def _again(folder: StudyFolder) -> str:
    if seen_study(folder) is None and not was_a_study(folder):
        return "type the grid's command once more to measure it again"
    return f"{type_resume(folder)} to measure it again"


def _without_a_record(folder: StudyFolder) -> Iterator[str]:
    """A trial in flight is no loss, unless its ranks have results."""
    ended = [trial for trial in folder.unfinished() if trial.result(0).exists()]
    for trial in (*folder.without_a_record(), *ended):
        number = int(trial.path.name)
        yield f"{trial.trial} is missing: trial {number} is left out; {_again(folder)}"


def _of_the_finals(folder: StudyFolder) -> Iterator[str]:
    finals = folder.finalists
    rounds = finals.read_rounds()
    seen = seen_json(finals.summary)
    if isinstance(seen, Damaged) or (seen is not None and not isinstance(seen, dict)):
        why = seen if isinstance(seen, Damaged) else f"{finals.summary} is no record of finals"
        yield f"{why}: who took part is taken from the rounds; type python -m sweeper report {shlex.quote(str(folder.path))} to have it written anew"
    damaged = finals.damaged()
    for each in damaged:
        yield f"{each}: left out; {type_resume(folder)} to measure that round again"
    lacking = lacking_rounds(finals) - len(damaged)
    if lacking > 0:
        yield (
            f"{finals.path}: {lacking} records of rounds that {finals.summary.name} tells of are missing; "
            f"{type_resume(folder)} to measure them again"
        )
    if seen is None and rounds:
        yield (
            f"{finals.summary} is missing: as far as its rounds do not tell, the finals have not ended; "
            f"{type_resume(folder)} to end them"
        )


def _of_what_is_beside(folder: StudyFolder) -> Iterator[str]:
    for path, what in (
        (folder.script, "what was seen of the script"),
        (folder.ruled_out, "what the plan rules out"),
        (folder.longest_sequence, "what the winner needs at the longest sequence"),
    ):
        if (found := _damage(path)) is not None:
            yield f"{found}: {what} is left out; {type_resume(folder)} to have it found out again"
    for path in sorted(folder.trials.glob("*/prediction.json")):
        if (found := _damage(path)) is not None:
            yield f"{found}: what was predicted of this trial is left out, and of no other"


def _of_the_winner(folder: StudyFolder, winner: Trial) -> Iterator[str]:
    own: TrialFolder = folder.trial(winner.number)
    if (found := _damage(own.spec)) is not None:
        yield f"{found}: {_STANDS_FOR_IT}"
    missing = None if os.path.lexists(own.ds_config) else Damaged(own.ds_config, "is missing")
    if (found := missing or _damage(own.ds_config)) is not None:
        if ds_config_of(folder, winner) is None:
            yield f"{found}: the winner cannot be exported; {type_resume(folder)} for more candidates"
        else:
            yield f"{found}: {_STANDS_FOR_IT}"


def _damage(path: Path) -> Damaged | None:
    """None also of a file that is not there: an earlier version may not have written it."""
    seen = seen_json(path)
    if seen is None or isinstance(seen, dict):
        return None
    return seen if isinstance(seen, Damaged) else Damaged(path, "is no JSON object")
