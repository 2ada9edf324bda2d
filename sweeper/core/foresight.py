"""What the memory model makes of plans: which surely do not fit, and how likely the others do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sweeper.core.machine import Machine
from sweeper.core.memory.calibration import Calibration, MemoryEstimate, surely_too_large
from sweeper.core.memory.demand import Demand, on_the_host
from sweeper.core.memory.host_calibration import HostCalibration
from sweeper.core.memory.model import MemoryNeed, memory_need
from sweeper.core.memory_limit import host_memory_bytes
from sweeper.core.model_profile import ModelProfile
from sweeper.core.outcome import Infeasible, Measured, Outcome, OutOfMemory, measurement_of
from sweeper.core.plan import Plan
from sweeper.core.quantities import format_bytes
from sweeper.core.robustness import LongestSequence
from sweeper.core.settings import Settings, settings_from_flat, with_values
from sweeper.core.spec import TrialSpec
from sweeper.core.trial import Trial

DOES_NOT_FIT = "does-not-fit"


class Foresight:
    """Learns from each trial. Where ``profile_of`` knows nothing of a model, it has no opinion."""

    def __init__(
        self, profile_of: Callable[[Settings], ModelProfile | None], machine: Machine
    ) -> None:
        self._profile_of = profile_of
        self._machine = machine
        self._calibration = Calibration()
        self._host = HostCalibration()

    def planned(self, plan: Plan) -> Plan:
        """The plan, refused where it surely does not fit."""
        for demand in self._demands(plan):
            if surely_too_large(demand.estimate, demand.limit_bytes):
                return replace(plan, ready=_refused(demand))
        return plan

    def likelihood(self, plan: Plan) -> float:
        """That it fits; 0 for one that is refused, 1 where nothing is known."""
        if not isinstance(plan.ready, TrialSpec):
            return 0.0
        chances = [d.probability for d in self._demands(plan)]
        return min(chances, default=1.0)

    def estimate(self, plan: Plan) -> MemoryEstimate | None:
        """What a rank will need at most; None where nothing is known."""
        need = self._need(plan.settings) if isinstance(plan.ready, TrialSpec) else None
        return None if need is None else self._calibration.estimate(plan.settings, need)

    def learn(self, trial: Trial) -> None:
        settings = settings_from_flat(trial.settings)
        need = self._need(settings)
        if need is None:
            return
        measurement = measurement_of(trial.outcome)  # a stopped trial's memory is as good
        outcome = trial.outcome if measurement is None else Measured(measurement=measurement)
        limit_bytes = self._limit_bytes(trial.memory_limit_bytes)
        self._calibration.learn(settings, need, outcome, limit_bytes)
        if not need.shared:
            self._learn_of_the_host(settings, need, outcome)

    def _learn_of_the_host(self, settings: Settings, need: MemoryNeed, outcome: Outcome) -> None:
        expected = float(max(need.host_bytes, 1))
        match outcome:
            case Measured(measurement=measurement):
                self._host.measured(measurement.peak_host_resident_bytes / expected)
            case OutOfMemory(memory="host"):
                there = host_memory_bytes(settings, self._machine)
                self._host.exceeded(there / (expected * settings.hardware.ranks))

    def longest_sequence(self, trial: Trial) -> LongestSequence:
        """What the trial's configuration would need at the longest sequence that its model takes."""
        settings = settings_from_flat(trial.settings)
        profile = self._profile_of(settings)
        limit_bytes = self._limit_bytes(trial.memory_limit_bytes)
        tokens = profile.max_positions if profile is not None else None
        if profile is None or not tokens or tokens <= settings.workload.sequence_length:
            return LongestSequence(tokens=tokens, limit_bytes=limit_bytes or None)
        settings = with_values(settings, {"workload.sequence_length": tokens})
        estimate = self._calibration.estimate(settings, memory_need(settings, profile))
        return LongestSequence(
            tokens=tokens,
            need_bytes=int(estimate.mean_bytes + estimate.untouched_bytes),
            deviation_bytes=estimate.deviation_bytes,
            limit_bytes=limit_bytes or None,
        )

    def _demands(self, plan: Plan) -> Iterator[Demand]:
        """On a rank, and on the host that all ranks offload to."""
        if not isinstance(plan.ready, TrialSpec):
            return
        need = self._need(plan.settings)
        if need is None:
            return
        limit_bytes = self._limit_bytes(plan.ready.memory_limit_bytes)
        if limit_bytes:
            estimate = self._calibration.estimate(plan.settings, need)
            yield Demand(who="a rank", estimate=estimate, limit_bytes=limit_bytes)
        if not need.shared:
            yield on_the_host(
                need,
                ranks=plan.ready.ranks,
                host_memory_bytes=host_memory_bytes(plan.settings, self._machine),
                calibration=self._host,
            )

    def _need(self, settings: Settings) -> MemoryNeed | None:
        profile = self._profile_of(settings)
        return None if profile is None else memory_need(settings, profile)

    def _limit_bytes(self, limit_bytes: int) -> int:
        """0 stands for all of a device."""
        return limit_bytes or self._machine.device_memory_bytes or 0


def _refused(demand: Demand) -> Infeasible:
    estimate, limit_bytes = demand.estimate, demand.limit_bytes
    total = estimate.mean_bytes + estimate.untouched_bytes
    return Infeasible(
        rule=DOES_NOT_FIT,
        reason=(
            f"{demand.who} needs about {format_bytes(total)} (give or take "
            f"{format_bytes(2 * estimate.deviation_bytes)}) and has {format_bytes(limit_bytes)}"
        ),
        violation=max(total / limit_bytes - 1.0, 0.01),
    )
