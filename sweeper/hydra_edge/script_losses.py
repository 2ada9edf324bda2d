"""Why a script's losses depend on the size of its micro-batch, told before trials are spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.core.script_work import tokens, work_from_json

# How much larger the seeds are that tell what is noise.
SEEDS = (1, 2)
# Losses that differ by so many times what another seed makes of them differ for another reason.
_NOISE_FACTOR = 3.0
_LARGEST_TOLERANCE = 0.5
# Of a loss that seeds alone change by so much nothing else can be told.
_ALL_NOISE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class LossExplained:
    """``tolerance`` is what noise alone needs; None where the training itself is another one."""

    why: str
    tolerance: float | None


def first_loss_differs(own: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """By what share, in the first step: of the same weights and samples. 0 where one tells no losses."""
    if not own.get("losses") or not other.get("losses"):
        return 0.0
    ours, theirs = float(own["losses"][0]), float(other["losses"][0])
    return abs(theirs - ours) / max(abs(ours), 1e-12)


def spread_of_first_losses(runs: Sequence[Mapping[str, Any]]) -> float:
    """From the smallest to the largest, as a share of the first run's; 0 where losses are not told."""
    losses = [float(run["losses"][0]) for run in runs if run.get("losses")]
    return (max(losses) - min(losses)) / max(abs(losses[0]), 1e-12) if losses else 0.0


def explained(
    difference: float, spread: float, own: Mapping[str, Any], other: Mapping[str, Any]
) -> LossExplained:
    """``spread`` is what other seeds make of the same step of the script as it is."""
    if difference <= _NOISE_FACTOR * spread or spread >= _ALL_NOISE:
        tolerance = min(_NOISE_FACTOR * max(spread, difference), _LARGEST_TOLERANCE)
        return LossExplained(
            why=(
                "random numbers are drawn for each micro-batch (dropout by a function, or noise): other seeds"
                f" alone make {spread:.2%}; losses are compared within {tolerance:.0%}"
            ),
            tolerance=tolerance,
        )
    return LossExplained(why=_cause(own, other), tolerance=None)


def _cause(own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if own["has_batch_statistics"]:
        return "its model normalises over the samples of a micro-batch (BatchNorm)"
    before, after = work_from_json(own), work_from_json(other)
    ours, theirs = tokens(before), tokens(after)
    padded = ours is not None and theirs is not None and ours != theirs
    if padded or any(step.unequal for step in (*before, *after)):
        return (
            "its loss is a mean over the tokens of a micro-batch, which differ in number, so that the mean of"
            " means weighs them otherwise"
        )
    return "its loss depends on which samples share a micro-batch (negatives within the batch, for one)"
