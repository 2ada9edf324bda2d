"""What is said of a setting to the person who typed it: one that was meant, and a value that it may have."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from sweeper.core.settings import Settings, allowed, setting_names


def unknown_setting(name: str, typed: str) -> str:
    """The line for a setting that does not exist, with those beside it and the one that was meant."""
    known = setting_names()
    root, _, last = name.rpartition(".")
    siblings = [each for each in known if root and each.rpartition(".")[0] == root]
    allowed = siblings or [f.name for f in fields(Settings)]
    by_last = {each.rpartition(".")[2]: each for each in known}
    close = difflib.get_close_matches(name, siblings or list(known), n=1, cutoff=0.65) or [
        by_last[each] for each in difflib.get_close_matches(last, by_last, n=1, cutoff=0.75)
    ]
    meant = close[0] if close else (siblings or [""])[0]
    advice = (
        f"{meant}={_kept_value(typed, known[meant], meant)}"
        if meant
        else "python -m sweeper --help for everything"
    )
    return f"{typed}: there is no setting {name}; allowed are {', '.join(allowed)}; type {advice}"


def _kept_value(typed: str, metadata: Mapping[str, Any], name: str) -> str:
    """What was typed, where the setting may have it; else a value that it may have."""
    text = typed.partition("=")[2]
    kinds = get_args(metadata["type"]) or (metadata["type"],)
    for kind in (int, float):
        if kind in kinds and metadata["type"] != list[float]:
            with contextlib.suppress(ValueError):
                return text if allowed(kind(text), metadata) else example_of(name, metadata)
    if bool in kinds and text in ("true", "false"):
        return text
    if str in kinds and re.fullmatch(r"[\w./-]+", text) and allowed(text, metadata):
        return text
    return example_of(name, metadata)


def example_of(name: str, metadata: Mapping[str, Any]) -> str:
    """A value that the setting may have, as it is typed."""
    if choices := metadata.get("choices"):
        return str(choices[0])
    kind = metadata.get("type")
    kinds = get_args(kind) or (kind,)
    if metadata.get("minimum") is not None and not {int, float}.isdisjoint(kinds):
        least = metadata["minimum"] or (1 if int in kinds else 0.1)
        return f"{least:g}"
    if kind == list[float]:
        return "[0.9,0.95]"
    if bool in kinds:
        return "true"
    return "null" if type(None) in kinds else "1"
