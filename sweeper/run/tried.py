"""What came of one step of a model, taken by a child process, as far as settings decide it."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.core.settings import Settings
from sweeper.run.ask import ask, free_room_bytes

TIMEOUT_SECONDS = 300

Sizes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """``mistake`` is None where a step can be taken, or where none could be tried, as ``note`` says.

    ``sizes`` are (elements, how many parameters have so many), of all and of those that are
    trained; empty where the model was not built.
    """

    mistake: str | None = None
    note: str | None = None
    recomputes: bool = True
    sizes: Sizes = ()
    trained_sizes: Sizes = ()


def tried(settings: Settings) -> Tried:
    """Takes seconds, once for each model."""
    request = {
        "target": settings.model_target,
        "arguments": settings.model_arguments,
        "batch": settings.model.get("_batch_"),
        "loss": settings.model.get("_loss_"),
        "length": settings.workload.sequence_length,
    }
    return _tried(json.dumps(request, sort_keys=True, default=str))


@functools.lru_cache(maxsize=64)
def _tried(request: str) -> Tried:
    asked: Mapping[str, Any] = json.loads(request)
    answer = ask(
        "sweeper.worker.dry_run",
        asked,
        timeout_seconds=TIMEOUT_SECONDS,
        room_bytes=free_room_bytes(),
    )
    found = answer.document
    if found is None:
        reason = f"model._target_={asked['target']} could not be tried: {answer.reason}"
        return Tried(mistake=reason)
    return Tried(
        mistake=found["mistake"],
        note=found.get("note"),
        recomputes=found.get("recomputes", True),
        sizes=_sizes(found, "sizes"),
        trained_sizes=_sizes(found, "trained_sizes"),
    )


def _sizes(found: Mapping[str, Any], name: str) -> Sizes:
    return tuple((int(size), int(count)) for size, count in found.get(name, ()))
