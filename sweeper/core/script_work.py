"""What a script's optimizer steps work on, and whether a trial of it works on as much as its own training."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

# Of elements: padding differs with how a batch is cut, a batch of another size by a half or more.
_NEARLY = 0.25
# What tells how many samples there are, the most direct first.
UNITS = ("drawn", "rows", "elements")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """Of one optimizer step over all ranks; None where it was not seen.

    ``drawn`` are samples that data loaders handed over, ``rows`` the first dimension of what the model was
    fed, ``elements`` the numbers in the largest input, ``tokens`` those of the first input of whole numbers.
    ``passes`` are backward passes of one rank, ``longest`` its longest dimension of tokens; ``unequal``: these
    passes are of different numbers of targets.
    """

    drawn: int | None
    rows: int | None
    elements: int | None
    tokens: int | None
    passes: int
    longest: int
    unequal: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> StepWork:
        return StepWork(
            **{f.name: document[f.name] for f in fields(StepWork) if f.name in document}
        )


def work_from_json(facts: Mapping[str, Any]) -> list[StepWork]:
    """Of the facts that a rank wrote."""
    return [StepWork.from_json(step) for step in facts.get("work", ())]


def settled(steps: Sequence[StepWork]) -> list[StepWork]:
    """Without the first, before which a loader may have been read ahead, and a rest of an epoch."""
    rest = list(steps[1:]) or list(steps)
    whole = max((step.drawn or step.rows or 0 for step in rest), default=0)
    return [step for step in rest if (step.drawn or step.rows or 0) >= whole] or rest


def amount(steps: Sequence[StepWork], unit: str) -> float | None:
    """Of a step: the same in each for what is counted, the mean for elements; None where it is not known."""
    values = [getattr(step, unit) for step in settled(steps)]
    if not values or any(value is None for value in values):
        return None
    if unit == "elements":
        return statistics.fmean(values)
    return float(values[0]) if len(set(values)) == 1 else None


def passes(steps: Sequence[StepWork]) -> int:
    """Backward passes of a rank in a step."""
    return round(statistics.median(step.passes for step in settled(steps))) if steps else 0


def tokens(steps: Sequence[StepWork]) -> float | None:
    """In a step, over all ranks."""
    values = [step.tokens for step in settled(steps)]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def counted_by(steps: Sequence[StepWork]) -> str | None:
    """The most direct unit that is known and the same in every step."""
    return next((unit for unit in UNITS if amount(steps, unit) is not None), None)


def is_same_amount(unit: str, ours: float, theirs: float) -> bool:
    """Exactly, where samples are counted."""
    if unit == "elements":
        return abs(ours / theirs - 1) <= _NEARLY
    return ours == theirs


def followed_by(own: Sequence[StepWork], other: Sequence[StepWork]) -> str | None:
    """The unit that says that steps cut into other micro-batches train as much as the script's own.

    Samples that are drawn decide where they are known; what the model is fed only where they are not. None
    where no unit says so.
    """
    for unit in UNITS:
        ours, theirs = amount(own, unit), amount(other, unit)
        if ours is None or theirs is None:
            continue
        if is_same_amount(unit, theirs, ours) and not (
            unit == "rows" and _passes_are_as_large(own, other)
        ):
            return unit
        if unit == "drawn":
            return None
    return None


def _passes_are_as_large(own: Sequence[StepWork], other: Sequence[StepWork]) -> bool:
    """Whether another number of passes is fed as much in each: then rows are a mask's, not the samples'."""
    ours, theirs = amount(own, "elements"), amount(other, "elements")
    if ours is None or theirs is None or passes(own) == passes(other):
        return False
    ratio = (theirs / passes(other)) / (ours / passes(own))
    return abs(ratio - 1) < _NEARLY / 5


def is_seen(steps: Sequence[StepWork]) -> bool:
    """Whether anything tells how much a step trains."""
    return counted_by(steps) is not None


def grows(steps: Sequence[StepWork]) -> bool:
    """Whether each step's sequences are longer than those of the one before."""
    longest = [step.longest for step in steps]
    pairs = itertools.pairwise(longest)
    return len(longest) >= 3 and all(before < after for before, after in pairs)
