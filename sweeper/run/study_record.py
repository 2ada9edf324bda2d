"""What a study's folder says of it: how it was made, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from sweeper.core.contest_record import read_contest
from sweeper.core.files import Damaged, read_object, seen_text
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import THROUGHPUT, Objective, objective_from_mapping
from sweeper.core.outcome import Crashed
from sweeper.core.plan import plan
from sweeper.core.settings import settings_from_mapping
from sweeper.core.standing import Standing, standing
from sweeper.core.trial import Trial
from sweeper.errors import UsageError
from sweeper.run.machine import quick_look

_MAPPINGS = ("config", "environment", "space", "sweeper")
_NO_SETTINGS = ("objective", "callbacks")
_LOST = "what it measured is left out"


def seen_study(folder: StudyFolder) -> Mapping[str, Any] | Damaged | None:
    """What study.yaml holds; None where there is none, as for a plain grid."""
    text = seen_text(folder.study)
    if text is None or isinstance(text, Damaged):
        return text
    if not text.strip():
        return Damaged(folder.study, "is empty")
    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return Damaged(folder.study, "is no YAML")
    if not isinstance(loaded, dict):
        return Damaged(folder.study, "is no study's record")
    for name, value in loaded.items():
        if name in _MAPPINGS and not isinstance(value, dict):
            return Damaged(folder.study, f"is no study's record ({name} is {type(value).__name__})")
    config = loaded.get("config", {})
    if not isinstance(config.get("objective") or {}, dict):
        return Damaged(folder.study, "is no study's record (its objective is none)")
    arguments = loaded.get("arguments", [])
    if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
        return Damaged(folder.study, "is no study's record (its arguments are none)")
    return loaded


def study_document(folder: StudyFolder) -> Mapping[str, Any]:
    """What study.yaml holds; empty where there is none that can be read."""
    seen = seen_study(folder)
    return {} if seen is None or isinstance(seen, Damaged) else seen


def recorded_objective(study: Mapping[str, Any]) -> Objective | None:
    """None where the document says nothing of it, as that of a plain grid."""
    values = (study.get("config") or {}).get("objective")
    return objective_from_mapping(values) if values else None


def objective_of_study(folder: StudyFolder) -> Objective | None:
    """Of study.yaml; where that is damaged, of the finals or of what Hydra kept of a trial."""
    try:
        if (found := recorded_objective(study_document(folder))) is not None:
            return found
    except UsageError:
        pass
    if is_grid(folder):
        return None
    values = [read_object(folder.finalists.summary).get("contest", {})]
    for path in sorted(folder.trials.glob("*/.hydra/config.yaml"))[:3]:
        text = seen_text(path)
        try:
            values.append(yaml.safe_load(text) if isinstance(text, str) else {})
        except (yaml.YAMLError, ValueError):
            continue
    for each in values:
        given = each.get("objective") if isinstance(each, dict) else None
        if isinstance(given, dict):
            try:
                return objective_from_mapping(given)
            except (UsageError, TypeError):
                continue
    return None


def was_a_study(folder: StudyFolder) -> bool:
    """Whether something is there that a plain grid does not leave."""
    left = (folder.ruled_out, folder.journal, folder.finalists.path, folder.finalists.summary)
    return any(p.exists() for p in left) or any(folder.trials.glob("*/pending.json"))


def is_grid(folder: StudyFolder) -> bool:
    """Whether Hydra's own sweeper made what is there, or nobody's."""
    return seen_study(folder) is None and not was_a_study(folder)


def how_it_stands(folder: StudyFolder) -> Standing:
    """By the study's own objective, and by its finals where there were some.

    A trial whose record is damaged stands as a round of the finals measured it, where it took part. A
    baseline that nothing is known of keeps its place, so that no other is taken for it.
    """
    objective = objective_of_study(folder) or THROUGHPUT
    trials = {trial.number: trial for trial in folder.read_trials()}
    for found in folder.finalists.read_rounds():
        trials = {**found, **trials}
    baseline = _lost_baseline(folder) if trials and 0 not in trials else None
    if baseline is not None:
        trials[0] = baseline
    ordered = [trials[number] for number in sorted(trials)]
    how = standing(ordered, objective, _finals(folder, objective, ordered))
    return replace(how, of_a_grid=len(ordered) > 1 and is_grid(folder))


def _finals(folder: StudyFolder, objective: Objective, trials: Sequence[Trial]) -> Any:
    first = trials[0].number if trials else None
    contest = read_contest(folder.finalists, baseline=first, objective=objective)
    return None if contest is None else contest[1]


def _lost_baseline(folder: StudyFolder) -> Trial | None:
    """Trial 0 as study.yaml tells of it, without what it measured."""
    seen = folder.trial(0).read()
    if seen is None and folder.trial(0) in folder.unfinished():
        return None  # it has not ended
    study = study_document(folder)
    why = str(seen) if isinstance(seen, Damaged) else f"{folder.trial(0).trial} is missing"
    try:
        config = study["config"]
        settings = settings_from_mapping({n: config[n] for n in config if n not in _NO_SETTINGS})
    except (KeyError, UsageError, TypeError, ValueError, AttributeError):
        return None
    return Trial(
        number=0,
        key=plan(settings, quick_look()).key,
        point=folder.trial(0).point or {},
        overrides=(),
        settings=settings.flat(),
        notes=(),
        memory_limit_bytes=0,
        outcome=Crashed(reason=f"{why}: {_LOST}", evidence="", exit_code=None),
        started_at=0.0,
        wall_seconds=0.0,
        environment=study.get("environment", {}),
    )


def is_lost(trial: Trial) -> bool:
    """Whether it only keeps the place of one whose record is damaged."""
    return isinstance(trial.outcome, Crashed) and trial.outcome.reason.endswith(_LOST)
