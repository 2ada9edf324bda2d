"""What a trial was predicted to need, as it was written down when the trial was planned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sweeper.core.memory.calibration import MemoryEstimate
from sweeper.core.shape import check_fields

PREDICTION_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of the fullest rank's peak, by the memory model as the trials before had corrected it."""

    peak_bytes: int
    deviation_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": PREDICTION_SCHEMA, **asdict(self)}

    @staticmethod
    def from_json(document: Any) -> Prediction | None:
        """None for no document, or one of another schema: a prediction is no fact of the trial's."""
        if not isinstance(document, dict) or document.get("schema_version") != PREDICTION_SCHEMA:
            return None
        try:
            found = Prediction(
                peak_bytes=document["peak_bytes"], deviation_bytes=document["deviation_bytes"]
            )
            check_fields(found)
        except (KeyError, ValueError):
            return None
        return found


def prediction_of(estimate: MemoryEstimate) -> Prediction:
    """What is kept of it."""
    return Prediction(
        peak_bytes=round(estimate.mean_bytes), deviation_bytes=round(estimate.deviation_bytes)
    )
