"""Reads the earlier study that ``hydra.sweeper.warm_start`` names, where it is one of the same family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper import hf_config
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import measurement_of
from sweeper.core.settings import HUGGING_FACE, Settings, settings_from_flat
from sweeper.core.space import Point
from sweeper.core.trial import Trial
from sweeper.errors import UsageError


def check_is_study(options: Mapping[str, Any]) -> None:
    """Raises UsageError for a folder in which there cannot be an earlier trial."""
    if options.get("warm_start"):
        _trials(str(options["warm_start"]))


def earlier_trials(options: Mapping[str, Any], settings: Settings) -> tuple[Trial, ...]:
    """Empty where no study is named. Raises UsageError for one that there is nothing to learn from."""
    if not options.get("warm_start"):
        return ()
    typed = _as_typed(str(options["warm_start"]))
    trials = _trials(str(options["warm_start"]))
    try:
        earlier = settings_from_flat(trials[0].settings)
    except UsageError as error:
        raise UsageError(
            f"{typed}: this version has other settings ({str(error).split(';')[0]}); "
            "give a study of this version, or type hydra.sweeper.warm_start=null"
        ) from error
    theirs, ours = _family(earlier), _family(settings)
    if theirs != ours:
        raise UsageError(
            f"{typed}: a study of {theirs}, which says little of {ours}; "
            "give a study of the same family, or type hydra.sweeper.warm_start=null"
        )
    return tuple(trials)


def _as_typed(folder: str) -> str:
    return f"hydra.sweeper.warm_start={folder}"


def _trials(folder: str) -> list[Trial]:
    trials = StudyFolder(Path(folder)).read_trials()
    if not trials:
        raise UsageError(
            f"{_as_typed(folder)}: there is no trial in this folder; type "
            "hydra.sweeper.warm_start=results/<study>, or null to learn from none"
        )
    return trials


def _family(settings: Settings) -> str:
    """One factory builds every Hugging Face architecture: there it is the architecture."""
    if settings.model_target != HUGGING_FACE:
        return settings.model_target
    config = str(settings.model_arguments.get("config"))
    kind = hf_config.model_type(config)
    return f"{HUGGING_FACE} with {f'model_type {kind}' if kind else config}"


def what_is_learned(typed: str, trials: Sequence[Trial], holds: Callable[[Point], bool]) -> str:
    """In a line; ``holds`` says whether a point is of this study's space."""
    inside = [trial for trial in trials if holds(trial.point)]
    measured = sum(measurement_of(trial.outcome) is not None for trial in inside)
    outside = len(trials) - len(inside)
    rest = f"; {outside} more are no candidates of this space" if outside else ""
    return f"learning from {len(inside)} trials of {typed}, {measured} of them measured{rest}"
