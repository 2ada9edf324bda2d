"""Whether a candidate trains as the baseline does: faster, but otherwise the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import Measured, measurement_of
from sweeper.core.trial import Trial

# Trials that differ in one of these train something else on purpose, and are not compared.
_DECIDE_TRAINING = ("model.", "workload.", "optimizer.", "script.")
_ONLY_HOW_FAST = ("optimizer.implementation", "model.attention")


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


def decides_training(setting: str) -> bool:
    """Whether what is trained follows from it, and not only how fast: tokens/s of other work are other tokens."""
    return setting.startswith(_DECIDE_TRAINING) and setting not in _ONLY_HOW_FAST


def loss_differences(trials: Sequence[Trial]) -> dict[int, LossDifference]:
    """By trial number, for every measured trial that can be compared with the first measured one.

    That is the baseline, unless it failed. The tolerance is the looser of the two precisions'.
    """
    measured = [t for t in trials if measurement_of(t.outcome) is not None]
    if not measured:
        return {}
    reference = measured[0]
    return {
        trial.number: _difference(trial, reference)
        for trial in measured[1:]
        if _training(trial) == _training(reference)
    }


def trains_differently(trial: Trial, reference: Trial) -> bool:
    """Whether the losses say so, where the two can be compared."""
    if trial is reference or _training(trial) != _training(reference):
        return False
    return _difference(trial, reference).trains_differently


def _training(trial: Trial) -> Mapping[str, object]:
    """The micro-batch is of it where the user says so of a script."""
    settings = trial.settings
    names = [name for name in settings if decides_training(name)]
    if settings.get("script.micro_batch_changes_training"):
        names.append("batch.micro_size")
    return {name: settings[name] for name in names}


def _difference(trial: Trial, reference: Trial) -> LossDifference:
    pairs = zip(_losses(trial), _losses(reference), strict=False)
    differences = [
        (abs(ours - theirs) / max(abs(theirs), 1e-12), number)
        for number, (ours, theirs) in enumerate(pairs, start=1)
    ]
    largest, step = max(differences, default=(0.0, 0))
    return LossDifference(
        reference=reference.number,
        largest=largest,
        step=step,
        tolerance=max(_tolerance(trial), _tolerance(reference)),
    )


def _losses(trial: Trial) -> tuple[float, ...]:
    measurement = measurement_of(trial.outcome)
    assert measurement is not None
    return measurement.losses


def _tolerance(trial: Trial) -> float:
    single = trial.settings["precision.mode"] == "fp32"
    name = "measure.loss_tolerance_fp32" if single else "measure.loss_tolerance_16bit"
    return float(trial.settings[name])


def best_trial(trials: Sequence[Trial], objective: Objective = THROUGHPUT) -> Trial | None:
    """The measured trial that is best by the objective; of equals the one with less memory, then the earlier.

    A trial that trains differently cannot win.
    """
    ranked = ranking(trials, objective)
    return ranked[0] if ranked else None


def ranking(
    trials: Sequence[Trial], objective: Objective = THROUGHPUT, *, stopped_too: bool = False
) -> list[Trial]:
    """The trials that were measured to the end and train as the first, the best first.

    ``stopped_too``: those as well that were ended early, by what their few steps say.
    """
    differences = loss_differences(trials)
    measured = [
        (m, t)
        for t in trials
        if (stopped_too or isinstance(t.outcome, Measured))
        and (m := measurement_of(t.outcome)) is not None
        and not (t.number in differences and differences[t.number].trains_differently)
    ]
    measured.sort(key=lambda p: (objective.order(p[0]), p[0].peak_bytes, p[1].number))
    return [trial for _, trial in measured]
