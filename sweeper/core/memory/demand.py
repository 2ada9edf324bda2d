"""Who needs memory for a trial, how likely there is enough of it, and the words for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.core.memory.calibration import MemoryEstimate, fits, surely_too_large
from sweeper.core.memory.host_calibration import HostCalibration
from sweeper.core.memory.model import MemoryNeed

# From what is safe to what is not started; explain, the report and docs/explanation/memory.md use them.
SURELY_FITS = "surely fits"
PROBABLY_FITS = "probably fits"
PROBABLY_DOES_NOT = "probably does not fit"
DOES_NOT_FIT = "does not fit"
_LEVELS = (SURELY_FITS, PROBABLY_FITS, PROBABLY_DOES_NOT, DOES_NOT_FIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What somebody needs, and has."""

    who: str
    estimate: MemoryEstimate
    limit_bytes: int

    @property
    def probability(self) -> float:
        """That there is enough."""
        return self.estimate.probability_below(self.limit_bytes)

    @property
    def fullness(self) -> float:
        """What is needed as a share of what there is."""
        needed = self.estimate.mean_bytes + self.estimate.untouched_bytes
        return needed / max(self.limit_bytes, 1)

    @property
    def level(self) -> str:
        return level(self.estimate, self.limit_bytes)


def level(estimate: MemoryEstimate, limit_bytes: float) -> str:
    """In words, by P(fits): above 99 % with a margin left, from 50 %, from 1 %, below."""
    if fits(estimate, limit_bytes):
        return SURELY_FITS
    if surely_too_large(estimate, limit_bytes):
        return DOES_NOT_FIT
    likely = estimate.probability_below(limit_bytes) >= 0.5
    return PROBABLY_FITS if likely else PROBABLY_DOES_NOT


def worst_level(demands: Sequence[Demand]) -> str:
    """Of all of them together."""
    return max((d.level for d in demands), key=_LEVELS.index, default=SURELY_FITS)


def on_the_host(
    need: MemoryNeed,
    *,
    ranks: int,
    host_memory_bytes: int,
    calibration: HostCalibration | None = None,
) -> Demand:
    """Of all ranks of a node, beside their devices."""
    calibration = calibration or HostCalibration()
    estimate = calibration.estimate(float(need.host_bytes * ranks))
    return Demand(who="the host", estimate=estimate, limit_bytes=host_memory_bytes)
