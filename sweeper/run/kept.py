"""What a trial ran, also where a file of its folder is damaged: the same stands in others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeper.core.files import read_json, read_object
from sweeper.core.folder import StudyFolder, TrialFolder
from sweeper.core.plan import plan
from sweeper.core.settings import settings_from_flat
from sweeper.core.spec import TrialSpec
from sweeper.core.trial import Trial
from sweeper.core.whole_config import section
from sweeper.errors import UsageError
from sweeper.run.machine import quick_look


def spec_of(folder: StudyFolder, trial: Trial) -> TrialSpec:
    """For another run, to its end this time; planned from the trial's settings where its own is damaged.

    Raises UsageError where it cannot be run again.
    """
    own = folder.trial(trial.number).spec
    try:
        found: Any = TrialSpec.from_json(read_json(own) or {})
    except (ValueError, KeyError, TypeError, AttributeError):
        found = _planned(trial)
    if not isinstance(found, TrialSpec):
        raise UsageError(
            f"{own}: missing or damaged, so that trial {trial.number} cannot be run again; "
            "type python -m sweeper ... hydra/sweeper=optuna for a new study"
        )
    return replace(found, beaten_step_seconds=None)


def ops_of(folder: StudyFolder, trial: Trial) -> Sequence[str]:
    """Names of the ops that it needs; of a spec of another version too."""
    ops = read_object(folder.trial(trial.number).spec).get("ops")
    if isinstance(ops, list):
        return [op for op in ops if isinstance(op, str)]
    planned = _planned(trial)
    return planned.ops if isinstance(planned, TrialSpec) else ()


def ds_config_of(folder: StudyFolder, trial: Trial) -> Mapping[str, Any] | None:
    """As the trial ran with it; None where nothing has it."""
    for place in _places(folder, trial.number):
        config = read_json(place.ds_config)
        # A script may leave it all to its framework's arguments.
        if isinstance(config, dict) and (config or trial.settings.get("script.path")):
            return config
    if trial.settings.get("script.path"):
        return None  # the script's own, of which the plan knows a part
    spec = section(read_json(folder.trial(trial.number).spec), "ds_config")
    if spec:
        return spec
    planned = _planned(trial)
    return planned.ds_config if isinstance(planned, TrialSpec) else None


def _places(folder: StudyFolder, number: int) -> Iterator[TrialFolder]:
    """Where it ran: in the search, and in each round of the finals."""
    yield folder.trial(number)
    for round_number in range(1, len(folder.finalists.read_rounds()) + 1):
        yield folder.finalists.trial(round_number, number)


def _planned(trial: Trial) -> Any:
    try:
        return plan(settings_from_flat(trial.settings), quick_look()).ready
    except (UsageError, KeyError, TypeError, ValueError):
        return None  # settings of another version
