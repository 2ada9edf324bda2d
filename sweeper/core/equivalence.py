"""Whether a candidate trains as the baseline does: faster, but otherwise the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.core.outcome import Measured
from sweeper.core.trial import Trial

# Trials that differ in one of these train something else on purpose, and are not compared.
_SAME_TRAINING = ("model.", "workload.", "optimizer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossDifference:
    """The largest relative difference to the reference trial's losses, in optimizer step ``step``."""

    reference: int
    largest: float
    step: int
    tolerance: float

    @property
    def trains_differently(self) -> bool:
        return not self.largest <= self.tolerance


def loss_differences(trials: Sequence[Trial]) -> dict[int, LossDifference]:
    """By trial number, for every measured trial that can be compared with the first measured one.

    That is the baseline, unless it failed. The tolerance is the looser of the two precisions'.
    """
    measured = [t for t in trials if isinstance(t.outcome, Measured)]
    if not measured:
        return {}
    reference = measured[0]
    return {
        trial.number: _difference(trial, reference)
        for trial in measured[1:]
        if _training(trial) == _training(reference)
    }


def _training(trial: Trial) -> Mapping[str, object]:
    return {n: v for n, v in trial.settings.items() if n.startswith(_SAME_TRAINING)}


def _difference(trial: Trial, reference: Trial) -> LossDifference:
    assert isinstance(trial.outcome, Measured)
    assert isinstance(reference.outcome, Measured)
    pairs = zip(
        trial.outcome.measurement.losses, reference.outcome.measurement.losses, strict=False
    )
    largest, step = max(
        (abs(ours - theirs) / max(abs(theirs), 1e-12), number)
        for number, (ours, theirs) in enumerate(pairs, start=1)
    )
    return LossDifference(
        reference=reference.number,
        largest=largest,
        step=step,
        tolerance=max(_tolerance(trial), _tolerance(reference)),
    )


def _tolerance(trial: Trial) -> float:
    single = trial.settings["precision.mode"] == "fp32"
    name = "measure.loss_tolerance_fp32" if single else "measure.loss_tolerance_16bit"
    return float(trial.settings[name])


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The measured trial with the most tokens/s; of equals the one with less memory, then the earlier.

    A trial that trains differently cannot win.
    """
    differences = loss_differences(trials)
    measured = [
        (t.outcome.measurement, t)
        for t in trials
        if isinstance(t.outcome, Measured)
        and not (t.number in differences and differences[t.number].trains_differently)
    ]
    if not measured:
        return None
    return min(measured, key=lambda p: (-p[0].tokens_per_second, p[0].peak_bytes, p[1].number))[1]
