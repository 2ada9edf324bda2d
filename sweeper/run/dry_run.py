"""Lets a model that is not ours take one step before the first trial."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from sweeper.core.settings import HUGGING_FACE, Settings
from sweeper.errors import UsageError
from sweeper.run.ask import ask

TIMEOUT_SECONDS = 300
_PRESETS = "sweeper.models."


def check_model(settings: Settings) -> None:
    """Raises UsageError with what is wrong with the factory, its batches or its loss."""
    tried = _of(settings)
    if tried["mistake"] is not None:
        line = "docs/models-factory.md says what is asked of a factory"
        if settings.model_target == HUGGING_FACE:
            line = "docs/models-hf.md says what is asked of a config"
        raise UsageError(f"{tried['mistake']}; {line}")


def groups_that_do_nothing(settings: Settings) -> dict[str, str]:
    """Groups of settings that the model, which has been checked, cannot take; and why."""
    if _of(settings)["recomputes"]:
        return {}
    lacks = "neither checkpoint_every nor gradient_checkpointing_enable"
    return {"checkpointing": f"{settings.model_target} has {lacks}"}


def _of(settings: Settings) -> Mapping[str, Any]:
    """Our own models are known to be right, and a script brings one that is not ours to try.

    A Hugging Face architecture is as right as its config; with adapters it would have to be built for
    real, whatever its size.
    """
    model = settings.model
    own = settings.model_target.startswith(_PRESETS)
    if settings.model_target == HUGGING_FACE:
        own = bool(model.get("lora_rank"))
    if settings.is_script or (own and not {"_batch_", "_loss_"} & set(model)):
        return {"mistake": None, "recomputes": True}
    request = {
        "target": settings.model_target,
        "arguments": settings.model_arguments,
        "batch": model.get("_batch_"),
        "loss": model.get("_loss_"),
        "length": settings.workload.sequence_length,
    }
    return _tried(json.dumps(request, sort_keys=True, default=str))


@functools.lru_cache(maxsize=64)
def _tried(request: str) -> Mapping[str, Any]:
    asked: Mapping[str, Any] = json.loads(request)
    answer = ask("sweeper.worker.dry_run", asked, timeout_seconds=TIMEOUT_SECONDS)
    if answer.document is None:
        return {"mistake": f"model._target_={asked['target']} could not be tried: {answer.reason}"}
    return answer.document
