"""What trials on devices teach of the memory that their ranks take on the host: one factor on the formulas."""

from __future__ import annotations

from statistics import NormalDist

from sweeper.core.memory.calibration import MemoryEstimate

# Of what the ranks offload to the host, before a trial has shown it.
HOST_DOUBT = 0.15
_SCATTER = 0.05  # between trials, of a measured peak over what the formulas say
_LEAST_DOUBT = 0.03
_NORMAL = NormalDist()


class HostCalibration:
    """The factor is a normal's: a measured peak observes it, memory that ran out says that it is above."""

    def __init__(self) -> None:
        self._mean, self._variance = 1.0, HOST_DOUBT**2

    def measured(self, ratio: float) -> None:
        """``ratio``: the largest rank's resident peak over what was expected of it."""
        gain = self._variance / (self._variance + _SCATTER**2)
        self._mean += gain * (ratio - self._mean)
        self._variance *= 1 - gain

    def exceeded(self, ratio: float) -> None:
        """``ratio``: what there was over what was expected (a truncated normal's moments)."""
        variance = self._variance + _SCATTER**2
        z = (self._mean - ratio) / variance**0.5
        above = _NORMAL.pdf(z) / _NORMAL.cdf(z) if z > -6 else -z
        self._mean += self._variance / variance**0.5 * above
        self._variance *= 1 - self._variance / variance * min(max(above * (above + z), 0.0), 1.0)

    def estimate(self, expected_bytes: float) -> MemoryEstimate:
        doubt = max((self._variance + _SCATTER**2) ** 0.5, _LEAST_DOUBT)
        return MemoryEstimate(
            mean_bytes=self._mean * expected_bytes, deviation_bytes=doubt * expected_bytes
        )
