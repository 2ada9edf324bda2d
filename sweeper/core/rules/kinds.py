"""What a rule says: forbidden together, ignored by DeepSpeed, or in need of something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeper.core.machine import Machine
from sweeper.core.rules.conditions import value
from sweeper.core.settings import Scalar, Settings, with_values


def _always_one(_: Settings) -> float:
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden:
    """Where ``applies``, the trial cannot be run as it is meant. ``violation`` > 0 grades by how much."""

    id: str
    applies: Callable[[Settings], bool]
    reason: Callable[[Settings], str]
    source: str
    violation: Callable[[Settings], float] = _always_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Where ``applies``, DeepSpeed does not look at the settings ``names``; they become ``neutral``.

    ``why`` is said of a setting that was given all the same; empty where that is no surprise.
    """

    id: str
    names: tuple[str, ...]
    applies: Callable[[Settings], bool]
    why: str
    source: str
    neutral: Scalar = None

    def without(self, settings: Settings) -> tuple[Settings, tuple[str, ...]]:
        """The settings that are left, and a note for each one that was taken out."""
        if not self.applies(settings):
            return settings, ()
        given = {n: v for n in self.names if (v := value(settings, n)) != self.neutral}
        notes = tuple(f"{n}={v} does nothing {self.why} and is left out" for n, v in given.items())
        return with_values(settings, dict.fromkeys(given, self.neutral)), notes if self.why else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Where ``lacks``, the machine does not have what the settings need."""

    id: str
    lacks: Callable[[Settings, Machine], bool]
    reason: Callable[[Settings, Machine], str]
    source: str
