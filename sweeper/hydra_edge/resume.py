"""Going on with a study that was ended: what it was, what has changed, what is left over."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.core.commands import typed as command
from sweeper.core.files import Damaged, free_name
from sweeper.core.folder import BY_ANOTHER_VERSION, StudyFolder, TrialFolder
from sweeper.core.hydra_text import override
from sweeper.core.space import Point
from sweeper.errors import UsageError
from sweeper.run.left_out import type_resume
from sweeper.run.processes import Family
from sweeper.run.study_lock import check_nobody_writes
from sweeper.run.study_record import seen_study, study_document, was_a_study

# A machine of the same kind is as good; the rest decides what a number means.
_NOT_COMPARED = ("host",)
_STORAGE = "hydra.sweeper.storage="
# What a trial's settings say under the same names, and no search changes.
_TOLD_BY_TRIALS = {
    "model": ("name", "_target_"),
    "workload": ("global_batch_size", "sequence_length", "seed"),
}
_COMPARED_CONFIG = ("model", "workload", "optimizer", "hardware", "measure", "objective")


def original_arguments(typed: str, added: Sequence[str] = ()) -> list[str]:
    """The command line that made the study in the folder ``typed``, so that it goes on there.

    Raises UsageError where there is no study, one that is running, where what made it is not known, or for a
    password that only ``added``, typed behind, can tell.
    """
    folder = StudyFolder(Path(typed))
    check_nobody_writes(folder, f"resume={typed}")
    study = study_document(folder)
    if "arguments" not in study:
        if folder.trials.is_dir() and was_a_study(folder):
            seen = seen_study(folder)
            why = seen if isinstance(seen, Damaged) else f"{folder.study} tells no command line"
            raise UsageError(f"resume={typed}: {why}; {type_resume(folder)} to go on")
        raise UsageError(
            f"resume={typed}: there is no study in this folder; type resume=results/<study>"
        )
    other = next((d for d in folder.damaged() if d.why == BY_ANOTHER_VERSION), None)
    if other is not None:
        raise UsageError(
            f"{other}: its numbers would not compare; go on with that version, or type "
            f"{shlex.quote(override('hydra.sweeper.warm_start', str(folder.path)))} for a new study"
        )
    kept = [a for a in study["arguments"] if not a.startswith("hydra.sweep.dir=")]
    if any(a.lstrip("+").startswith(_STORAGE) for a in added):
        kept = [a for a in kept if not a.lstrip("+").startswith(_STORAGE)]
    elif (masked := next((a for a in kept if "***" in a), None)) is not None:
        raise UsageError(
            f"resume={typed}: the password of {masked} is kept nowhere; type resume={typed} "
            f"'{_STORAGE}<the URL with its password>', or '{_STORAGE}${{oc.env:DB}}' with the URL in DB"
        )
    return [*kept, override("hydra.sweep.dir", str(folder.path)), "hydra.sweeper.resume=true"]


def check_unchanged(
    folder: StudyFolder, config: Mapping[str, Any], environment: Mapping[str, Any]
) -> None:
    """Raises UsageError naming what has changed since the study began: its numbers would not compare."""
    study = study_document(folder) or _as_its_trials_tell(folder, config, environment)
    changes = [
        *_changes(study.get("environment", {}), environment, _NOT_COMPARED),
        *(
            change
            for group in _COMPARED_CONFIG
            for change in _changes(
                study.get("config", {}).get(group, {}), config.get(group, {}), (), f"{group}."
            )
        ),
    ]
    if changes:
        arguments = [a for a in study.get("arguments", []) if not a.startswith("hydra.sweep.dir=")]
        raise UsageError(
            f"{folder.path} was measured under other conditions: {'; '.join(changes)}; type "
            f"{command(*arguments, override('hydra.sweeper.warm_start', str(folder.path)))} for a new study "
            "that learns from it"
        )


def _as_its_trials_tell(
    folder: StudyFolder, config: Mapping[str, Any], environment: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Where study.yaml is damaged: as far as a trial's record tells the same things."""
    trials = folder.read_trials()
    if not trials:
        return {"environment": environment, "config": config}
    trial, ran = trials[0], next((t.environment for t in trials if t.environment), {})
    own = {n: v for n, v in ran.items() if n in environment}
    groups: dict[str, Any] = {group: config.get(group, {}) for group in _COMPARED_CONFIG}
    for group, names in _TOLD_BY_TRIALS.items():
        told = {n: trial.settings.get(f"{group}.{n}") for n in names if n in groups[group]}
        groups[group] = {**groups[group], **told}
    return {"environment": {**environment, **own}, "config": groups}


def clear_unfinished(folder: StudyFolder) -> Point | None:
    """Ends what is left of the trial in flight and removes its files; returns what it was trying."""
    pending: Point | None = None
    for trial in folder.unfinished():
        Family(trial.mark, list).end()
        pending = pending if trial.point is None else trial.point
        shutil.rmtree(trial.path)
    return pending


def put_damaged_aside(folder: StudyFolder, say: Callable[[str], None]) -> dict[int, Point]:
    """Trials whose record is damaged, by number, with what is to be tried again there.

    Their folders stay, beside the trials. A trial of which even that is not known has no place to keep.
    """
    lost: dict[int, Point] = {}
    gone = [Damaged(trial.trial, "is missing") for trial in folder.without_a_record()]
    for damaged in (*folder.damaged(), *gone):
        trial = TrialFolder(damaged.path.parent)
        Family(trial.mark, list).end()
        number, point = int(trial.path.name), trial.point
        if point is not None:
            lost[number] = point
        what = f"trial {number} is measured again" if point is not None else "it may be tried anew"
        say(f"note: {damaged}: {what}; what is left of it is in {folder.put_aside.name}/")
        folder.put_aside.mkdir(exist_ok=True)
        trial.path.rename(free_name(folder.put_aside / trial.path.name))
    return lost


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], left_out: Sequence[str], prefix: str = ""
) -> Iterator[str]:
    for name in dict.fromkeys([*before, *now]):
        if name not in left_out and before.get(name) != now.get(name):
            yield f"{prefix}{name} was {before.get(name)}, is {now.get(name)}"
