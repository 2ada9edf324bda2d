"""Lets a model that is not ours take one step before the first trial."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from sweeper.core.settings import Settings
from sweeper.errors import UsageError
from sweeper.run.ask import ask

TIMEOUT_SECONDS = 300
_PRESETS = "sweeper.models."


def check_model(settings: Settings) -> None:
    """Raises UsageError with what is wrong with the factory, its batches or its loss.

    Our own models are known to be right.
    """
    model = settings.model
    if settings.model_target.startswith(_PRESETS) and not {"_batch_", "_loss_"} & set(model):
        return
    request = {
        "target": settings.model_target,
        "arguments": settings.model_arguments,
        "batch": model.get("_batch_"),
        "loss": model.get("_loss_"),
        "length": settings.workload.sequence_length,
    }
    mistake = _mistake(json.dumps(request, sort_keys=True, default=str))
    if mistake is not None:
        raise UsageError(f"{mistake}; docs/models-factory.md says what is asked of a factory")


@functools.lru_cache(maxsize=64)
def _mistake(request: str) -> str | None:
    asked: Mapping[str, Any] = json.loads(request)
    answer = ask("sweeper.worker.dry_run", asked, timeout_seconds=TIMEOUT_SECONDS)
    if answer.document is None:
        return f"model._target_={asked['target']} could not be tried: {answer.reason}"
    mistake: str | None = answer.document["mistake"]
    return mistake
