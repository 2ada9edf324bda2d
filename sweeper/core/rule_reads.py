"""What of the settings a rule looks at, found while it looks: what it does not look at changes nothing for it."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, cast

from sweeper.core.rules import FORBIDDEN, IGNORED, OWN_VALUES
from sweeper.core.rules.kinds import Forbidden
from sweeper.core.settings import Settings

# A rule sees settings without these where DeepSpeed does not look at them, which is for others to decide.
_TAKEN_OUT = frozenset(name for rule in (*IGNORED, *OWN_VALUES) for name in rule.names)


class _Watched:
    """Settings, or a group of them, that note what is read."""

    def __init__(self, watched: Any, prefix: str, read: set[str]) -> None:
        self._watched, self._prefix, self._read = watched, prefix, read

    def __getattr__(self, name: str) -> Any:
        described = getattr(type(self._watched), name, None)
        if isinstance(described, property) and described.fget is not None:
            return described.fget(self)
        found = getattr(self._watched, name)
        if is_dataclass(found):
            return _Watched(found, f"{self._prefix}{name}.", self._read)
        self._read.add(f"{self._prefix}{name}")
        return found


def forbidding(settings: Settings) -> tuple[Forbidden, frozenset[str]] | None:
    """The first rule that forbids the settings, with the names that it looked at.

    None where there is none, or where what it looked at is not all that decides.
    """
    for rule in FORBIDDEN:
        applies, read = looked_at(rule, settings)
        if applies:
            return None if read & _TAKEN_OUT else (rule, read)
    return None


def looked_at(rule: Forbidden, settings: Settings) -> tuple[bool, frozenset[str]]:
    """Whether the rule forbids the settings, and what it looked at to say so; a free group has one name."""
    read: set[str] = set()
    applies = bool(rule.applies(cast(Settings, _Watched(settings, "", read))))
    return applies, frozenset(read)
