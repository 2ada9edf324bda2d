"""The profile of a study's model: from the cache, else traced by a child process."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from sweeper import hf_config
from sweeper.core.files import read_json, write_json
from sweeper.core.memory.least import least_bytes
from sweeper.core.model_profile import PROFILE_SCHEMA, ModelProfile
from sweeper.core.quantities import format_bytes
from sweeper.core.settings import HUGGING_FACE, Settings
from sweeper.places import cache_dir, models_dir
from sweeper.run.ask import ask, free_room_bytes
from sweeper.run.tried import Sizes, tried

TRACE_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A profile, or why there is none."""

    profile: ModelProfile | None
    reason: str = ""


def model_profile(settings: Settings) -> ModelProfile | None:
    """None where the model cannot be traced; ``profile_of`` says why. A script's model is not known."""
    return None if settings.is_script else profile_of(settings).profile


def profile_of(settings: Settings) -> Profiled:
    """Of the settings' model, with the batches and the loss that it is trained with.

    Where there is none the reason says what is known all the same.
    """
    if settings.model_target == HUGGING_FACE and settings.model.get("lora_rank"):
        reason = "the memory model does not know frozen parameters (model.lora_rank)"
        found = Profiled(profile=None, reason=reason)
    else:
        found = profiled(
            settings.model_target,
            settings.model_arguments,
            batch=settings.model.get("_batch_"),
            loss=settings.model.get("_loss_"),
        )
    if found.profile is not None:
        return found
    return replace(found, reason=f"{found.reason}{_known(settings)}")


def _known(settings: Settings) -> str:
    """What can be said of a model that was built, though not traced."""
    model = tried(settings)
    parameters, trained = (_elements(sizes) for sizes in (model.sizes, model.trained_sizes))
    if not parameters:
        return ""
    least = least_bytes(settings, model.sizes, model.trained_sizes)
    places = " and ".join(
        f"{format_bytes(number)} of {place}" for place, number in least.items() if number >= 2**20
    )
    taken = f", take at least {places} memory a rank with the optimizer's states" if places else ""
    note = "" if model.note is None else f"; {model.note}"
    return f"; its {parameters:,} parameters, {trained:,} of them trained{taken}{note}"


def _elements(sizes: Sizes) -> int:
    return sum(numel * count for numel, count in sizes)


def profiled(
    target: str,
    arguments: Mapping[str, Any],
    *,
    batch: str | None = None,
    loss: str | None = None,
) -> Profiled:
    """Never raises: without a profile the sweeper plans as if it knew nothing of memory."""
    request = {"target": target, "arguments": dict(arguments), "batch": batch, "loss": loss}
    return _profiled(json.dumps(request, sort_keys=True, default=str))


@functools.lru_cache(maxsize=64)
def _profiled(request: str) -> Profiled:
    asked = json.loads(request)
    if not asked["target"].startswith("sweeper.models.") or asked["batch"] or asked["loss"]:
        return _trace(asked)  # the user's code changes from one study to the next
    path = cache_dir() / "profiles" / f"{_fingerprint(asked)}.json"
    try:
        return Profiled(profile=ModelProfile.from_json(read_json(path) or {}))
    except (ValueError, KeyError, TypeError):
        found = _trace(asked)
    if found.profile is not None:
        write_json(path, found.profile.to_json())
    return found


def _fingerprint(request: Mapping[str, Any]) -> str:
    """Of what the profile depends on: our models' code and the architecture's own too."""
    digest = hashlib.sha256()
    arguments = json.dumps(request["arguments"], sort_keys=True)
    parts = [request["target"], arguments, metadata.version("torch"), str(PROFILE_SCHEMA)]
    if request["target"] == HUGGING_FACE:
        parts.append(metadata.version("transformers"))
        parts.append(hf_config.config_file(request["arguments"]["config"]).read_text())
    for part in parts:
        digest.update(part.encode() + b"\0")
    for path in sorted(models_dir().glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _trace(request: Mapping[str, Any]) -> Profiled:
    answer = ask(
        "sweeper.worker.model_profile",
        request,
        timeout_seconds=TRACE_TIMEOUT_SECONDS,
        room_bytes=free_room_bytes(),
    )
    if answer.document is None:
        reason = f"{request['target']} cannot be traced: {answer.reason}"
        return Profiled(profile=None, reason=reason)
    return Profiled(profile=ModelProfile.from_json(answer.document))
