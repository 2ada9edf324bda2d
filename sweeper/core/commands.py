"""What to type after a study."""

from __future__ import annotations

import re
import shlex

# A stop reason names the option that ended the search, if one did: "8 trials were run (n_trials=8)".
_LIMIT = re.compile(r"\((n_trials|timeout|patience)=([\d.e+]+)")


def typed(*words: str) -> str:
    """A command as a shell takes it."""
    return f"python -m sweeper {shlex.join(words)}"


def go_on(place: str, *options: str) -> str:
    """Of the study in the folder ``place``, with other ``options`` than it was begun with."""
    return typed(f"resume={place}", *options)


def look_on(place: str, stop_reason: str) -> str | None:
    """With twice what ended the search; None where that was no limit of the user's."""
    limit = _LIMIT.search(stop_reason)
    if limit is None:
        return None
    name, value = limit.groups()
    return go_on(place, f"hydra.sweeper.{name}={2 * float(value):.0f}")
