"""Checks a study's model before the first trial, by one step that it takes."""

from __future__ import annotations

from sweeper.core.settings import HUGGING_FACE, Settings
from sweeper.errors import UsageError
from sweeper.places import page
from sweeper.run.model_profile import profile_of
from sweeper.run.tokens_file import check_tokens_file
from sweeper.run.tried import Tried, tried

_PRESETS = "sweeper.models."


def check_model(settings: Settings) -> None:
    """Raises UsageError with what is wrong with the model, its batches or its loss, or its file of tokens."""
    check_tokens_file(settings)
    mistake = _checked(settings).mistake
    if mistake is None:
        return
    mistake = mistake.removesuffix(".")
    if settings.model_target == HUGGING_FACE:
        raise UsageError(f"{mistake}; {page('models-hf.md')} says what is asked of a config")
    if settings.model_target.startswith(_PRESETS):
        raise UsageError(
            f"{mistake}; {page('reference/models.md')} has the arguments of each model"
        )
    raise UsageError(f"{mistake}; {page('models-factory.md')} says what is asked of a factory")


def notes_on_model(settings: Settings) -> tuple[str, ...]:
    """What a person should know of the check."""
    note = _checked(settings).note
    return () if note is None else (note,)


def groups_that_do_nothing(settings: Settings) -> dict[str, str]:
    """Groups of settings that the model, which has been checked, cannot take; and why."""
    if _checked(settings).recomputes:
        return {}
    lacks = "neither checkpoint_every nor gradient_checkpointing_enable"
    return {"checkpointing": f"{settings.model_target} has {lacks}"}


def _checked(settings: Settings) -> Tried:
    """A script brings a model that is not ours to try.

    A model of ours that could be traced has taken that step: its profile is needed in any case, and
    kept from one study to the next. It has no batch and no loss but its own.
    """
    if settings.is_script:
        return Tried()
    own = settings.model_target.startswith(_PRESETS)
    if own and not {"_batch_", "_loss_"} & set(settings.model) and profile_of(settings).profile:
        return Tried()
    return tried(settings)
