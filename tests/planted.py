"""A machine on which the truth is known: whole studies are run against it in milliseconds a trial."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sweeper.core.enough import MIN_MEASURED_STEPS, is_beaten, is_enough
from sweeper.core.outcome import Measured, Outcome, OutOfMemory, Stopped
from sweeper.core.plan import Plan
from sweeper.core.space import Choice, Identity, Point, SearchSpace, identity
from sweeper.core.spec import TrialSpec
from sweeper.core.trial import Trial, trial_of_plan
from tests.support import MACHINE, measured, plan_of_point

GIB = 2**30
SPACE = SearchSpace(
    parameters={
        "zero.stage": Choice(values=("0", "1", "2", "3")),
        "offload.optimizer": Choice(values=("none", "cpu")),
        "precision.mode": Choice(values=("fp32", "bf16")),
        "batch.micro_size": Choice(values=("1", "2", "4", "8")),
    }
)
BASELINE = {name: domain.points()[0] for name, domain in SPACE.parameters.items()}
MEASURE = {"measure.min_steps": 6, "measure.max_steps": 10, "measure.max_seconds": 1e9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a point gives, whatever a measurement of it says."""

    tokens_per_second: float
    peak_bytes: float
    ranks: int

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= 6.5 * GIB


def plan_of(point: Point) -> Plan:
    """Of a point of ``SPACE``, or of one with ranks too."""
    return _planned(identity(point))


@functools.cache
def _planned(point: Identity) -> Plan:
    typed = dict(point)
    ranks = {"hardware.ranks": int(typed.pop("hardware.ranks", "1"))}
    return plan_of_point(typed, **MEASURE, **ranks)


def is_legal(point: Point) -> bool:
    return isinstance(plan_of(point).ready, TrialSpec)


def truth_of(point: Point) -> Truth:
    """A cliff in memory, knobs that act on each other, and ranks that do not scale."""
    micro, stage = int(point["batch.micro_size"]), int(point["zero.stage"])
    ranks = int(point.get("hardware.ranks", "1"))
    low = point["precision.mode"] == "bf16"
    speed = 1000 * micro / (micro + 2) * (1 - 0.06 * stage)
    speed *= 1.4 if low and micro >= 4 else 1.0
    speed *= (0.8 if point["offload.optimizer"] == "cpu" else 1.0) * ranks**0.7
    states = 4.0 / (1 + stage) * (0.5 if point["offload.optimizer"] == "cpu" else 1.0)
    return Truth(
        tokens_per_second=speed,
        peak_bytes=GIB * (1 + states + micro * (0.2 if low else 0.25)),
        ranks=ranks,
    )


class NoisyMachine:
    """Every step is off a little and every process as a whole; one process in ten lies.

    A liar is a tenth faster or slower than it should be. Rounds have a drift of their own. As the
    worker does, it ends a trial whose steps have told enough, and one that is clearly beaten.
    """

    def __init__(self, seed: int, *, liars: float = 0.1) -> None:
        self._draw = random.Random(seed)
        self._liars = liars
        self._drifts: dict[int, float] = {}
        self.run_points: list[Mapping[str, str]] = []
        self.num_stopped = 0

    def measure(self, point: Point, spec: TrialSpec, round_number: int = 0) -> Outcome:
        """In a process of its own."""
        truth = truth_of(point)
        if not truth.fits:
            return OutOfMemory(memory="host", phase="warm-up", reason="too large")
        gauss = self._draw.gauss
        off = gauss(0, 0.01) + self._drifts.setdefault(round_number, gauss(0, 0.02))
        if self._draw.random() < self._liars:
            off += self._draw.choice((-0.1, 0.1))
        base = replace(
            measured(peak_bytes=int(truth.peak_bytes * math.exp(gauss(0, 0.003)))).measurement,
            ranks=truth.ranks,
        )
        true_seconds = base.tokens_per_step / truth.tokens_per_second
        seconds: list[float] = []
        while len(seconds) < spec.max_steps:
            if len(seconds) >= MIN_MEASURED_STEPS:
                if is_beaten(seconds, spec):
                    self.num_stopped += 1
                    estimate = replace(base, step_seconds=tuple(seconds))
                    return Stopped(measurement=estimate, reason="clearly beaten")
                if is_enough(seconds, spec):
                    break
            seconds.append(true_seconds * math.exp(off + gauss(0, 0.02)))
        return Measured(measurement=replace(base, step_seconds=tuple(seconds)))

    def run(self, number: int, point: Point, plan: Plan) -> Trial:
        """As the runner of a study."""
        outcome: Outcome
        if isinstance(plan.ready, TrialSpec):
            self.run_points.append(dict(point))
            outcome = self.measure(point, plan.ready)
        else:
            outcome = plan.ready
        return trial_of_plan(
            plan,
            outcome,
            number=number,
            point=point,
            overrides=(),
            memory_limit_bytes=MACHINE.host_memory_bytes,
        )

    def measure_again(self, trial: Trial, round_number: int) -> Outcome:
        """In the finals, where nobody is stopped."""
        spec = plan_of(trial.point).ready
        assert isinstance(spec, TrialSpec)
        return self.measure(trial.point, spec, round_number)
