"""How a trial can end: a tagged union of small records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from sweeper.core.measurement import Measurement
from sweeper.core.shape import check_fields

Memory: TypeAlias = Literal["device", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """It trained, and was timed."""

    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """It trained, and was stopped when its first steps had shown that it is clearly beaten.

    ``measurement`` is of those few: an estimate.
    """

    measurement: Measurement
    reason: str


# What a rank does before its first step, in order.
PHASES_BEFORE_STEPS = ("start", "import", "connect", "build", "initialize")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """A rank ran out of memory. ``phase`` is what it was doing: build, initialize, warm-up, measure."""

    memory: Memory
    phase: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """The plan forbids it: no process was spent. ``violation`` > 0 grades how far off it is."""

    rule: str
    reason: str
    violation: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """It needs a device, a dtype or a library that is not here."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverged:
    """It trained to a loss that is no number, or never applied a step."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """It did not end before its deadline and was killed."""

    phase: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """It ended without a result, or with an exception. ``evidence`` is the traceback or log tail."""

    reason: str
    evidence: str
    exit_code: int | None


Outcome: TypeAlias = (
    Measured | Stopped | OutOfMemory | Infeasible | Unsupported | Diverged | TimedOut | Crashed
)

_KINDS: dict[str, type[Outcome]] = {
    "measured": Measured,
    "stopped": Stopped,
    "out-of-memory": OutOfMemory,
    "infeasible": Infeasible,
    "unsupported": Unsupported,
    "diverged": Diverged,
    "timed-out": TimedOut,
    "crashed": Crashed,
}
assert set(_KINDS.values()) == set(get_args(Outcome))
_NAMES = {cls: name for name, cls in _KINDS.items()}


def kinds() -> tuple[str, ...]:
    """The words for all outcomes."""
    return tuple(_KINDS)


def kind_of(outcome: Outcome) -> str:
    """The word for an outcome in tables and JSON: ``"out-of-memory"``."""
    return name_of_kind(type(outcome))


def name_of_kind(cls: type[Outcome]) -> str:
    """The same, of the class."""
    return _NAMES[cls]


def became(outcome: Outcome) -> str:
    """What a trial did, in a sentence: ``"ran out of memory"``."""
    return {
        Measured: "was measured",
        Stopped: "was stopped early",
        OutOfMemory: "ran out of memory",
        Infeasible: "was ruled out",
        Unsupported: "is not supported here",
        Diverged: "diverged",
        TimedOut: "timed out",
        Crashed: "crashed",
    }[type(outcome)]


def hung_at_the_start(outcome: Outcome) -> bool:
    """Whether it timed out before there was anything of its own to do."""
    return isinstance(outcome, TimedOut) and outcome.phase in PHASES_BEFORE_STEPS


def reason_of(outcome: Outcome) -> str:
    """Why a trial was not measured; empty where it was."""
    return "" if isinstance(outcome, Measured) else outcome.reason


def measurement_of(outcome: Outcome) -> Measurement | None:
    """What was observed of its steps, of a stopped trial too."""
    return outcome.measurement if isinstance(outcome, Measured | Stopped) else None


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """The fields of the outcome, tagged with its kind."""
    return {"kind": kind_of(outcome), **asdict(outcome)}


def outcome_from_json(document: Mapping[str, Any]) -> Outcome:
    """The inverse of ``outcome_to_json``.

    Raises KeyError for an unknown kind, ValueError or TypeError for values that no trial can have.
    """
    values = {k: v for k, v in document.items() if k != "kind"}
    cls = _KINDS[document["kind"]]
    if cls in (Measured, Stopped):
        raw: dict[str, Any] = values["measurement"]
        known = {f.name for f in fields(Measurement)}
        arguments: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in raw.items() if k in known
        }
        arguments["breakdown_seconds"] = {
            part: tuple(seconds) for part, seconds in raw["breakdown_seconds"].items()
        }
        values["measurement"] = _checked(Measurement(**arguments))
    outcome: Outcome = cls(**values)
    check_fields(outcome)
    return outcome


def _checked(m: Measurement) -> Measurement:
    """Whose statistics can be worked out."""
    check_fields(m)
    if not m.step_seconds or not all(0 < s < math.inf for s in m.step_seconds):
        raise ValueError("step_seconds are no times")
    for name in ("tokens_per_step", "samples_per_step", "ranks", "peak_bytes"):
        if getattr(m, name) <= 0:
            raise ValueError(f"{name} is {getattr(m, name)}")
    return m
