"""What a study is after: which of two measured trials is the better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from sweeper.core.measurement import Measurement
from sweeper.core.outcome import measurement_of
from sweeper.core.settings import group_from_mapping, knob, setting
from sweeper.core.trial import Trial
from sweeper.errors import UsageError

Kind: TypeAlias = Literal["throughput", "memory", "pareto", "time_to_target", "cost"]
Direction: TypeAlias = Literal["maximize", "minimize"]

# A trial is clearly beaten when even the fast end of its interval is slower than the best by this share.
BEATEN_BY = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``throughput_floor`` is in tokens/s of all ranks, ``target_tokens`` what a whole training takes."""

    kind: str = setting(
        "the best trial has the most tokens/s, the least memory (above throughput_floor), the "
        "shortest time_to_target or the least cost; pareto searches for both tokens/s and memory",
        choices=get_args(Kind),
    )
    throughput_floor: float | None = knob(
        "tokens/s that the least memory must still give; null takes the baseline's, and none where that "
        "is not measured",
        minimum=0,
    )
    target_tokens: float = setting(
        "tokens of the training that time and cost are told for", minimum=1
    )
    price_per_device_hour: float | None = knob("of one rank, for cost, in any currency", minimum=0)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Of ``values``, as Optuna names them."""
        if self.kind == "pareto":
            return ("maximize", "minimize")
        return ("maximize",) if self.kind == "throughput" else ("minimize",)

    @property
    def unit(self) -> str:
        """What ``values`` are, in words."""
        return {
            "throughput": "tokens/s",
            "memory": "bytes of the fullest rank",
            "pareto": "tokens/s and bytes of the fullest rank",
            "time_to_target": "hours",
            "cost": "of the price's currency",
        }[self.kind]

    @property
    def value_names(self) -> tuple[str, ...]:
        """One for each of ``values``, short enough for an axis."""
        return {
            "throughput": ("tokens/s",),
            "memory": ("peak bytes",),
            "pareto": ("tokens/s", "peak bytes"),
            "time_to_target": ("hours to target",),
            "cost": ("cost of target",),
        }[self.kind]

    def values(self, m: Measurement) -> tuple[float, ...]:
        """One number for each direction."""
        match self.kind:
            case "throughput":
                return (m.tokens_per_second,)
            case "memory":
                return (float(m.peak_bytes),)
            case "pareto":
                return (m.tokens_per_second, float(m.peak_bytes))
            case "time_to_target":
                return (self.hours_to_target(m),)
            case _:
                return (self.cost_of_target(m),)

    def hours_to_target(self, m: Measurement) -> float:
        return self.target_tokens / m.tokens_per_second / 3600

    def cost_of_target(self, m: Measurement) -> float:
        """Every rank is paid for as long as the training takes."""
        return self.hours_to_target(m) * m.ranks * (self.price_per_device_hour or 0.0)

    def score(self, m: Measurement) -> float:
        """``worth``, graded below the floor too."""
        short = math.log1p(self.shortfall(m)) if self.shortfall(m) > 0 else 0.0
        return self.worth(m) - 5.0 * short

    def worth(self, m: Measurement) -> float:
        """A logarithm of what is to be large: tokens/s, those of one rank, or 1 / bytes."""
        match self.kind:
            case "memory":
                return -math.log(m.peak_bytes)
            case "cost":
                return math.log(m.tokens_per_second / m.ranks)
            case _:
                return math.log(m.tokens_per_second)

    def gain(self, m: Measurement, other: Measurement) -> float:
        """By how much ``m`` is the better one (a logarithm); for a front, where it is most so."""
        saved = math.log(other.peak_bytes / m.peak_bytes)
        sped = math.log(m.tokens_per_second / other.tokens_per_second)
        match self.kind:
            case "pareto":
                return max(saved, sped)
            case "memory":
                misses, other_misses = self.shortfall(m) > 0, self.shortfall(other) > 0
                if misses != other_misses:
                    return -math.inf if misses else math.inf
                return sped if misses else saved
            case _:
                return self.score(m) - self.score(other)

    def order(self, m: Measurement) -> tuple[float, ...]:
        """Sorts the best first. Of a Pareto front that is its fastest."""
        if self.kind == "memory":
            below = m.tokens_per_second < self._floor
            return (1.0, -m.tokens_per_second) if below else (0.0, float(m.peak_bytes))
        return (-self.score(m),)

    def shortfall(self, m: Measurement) -> float:
        """Above 0 where a floor is missed, and the more the worse."""
        if self.kind != "memory" or not self._floor:
            return 0.0
        return self._floor / m.tokens_per_second - 1.0

    def beaten_step_seconds(self, best: Measurement, ranks: int) -> float | None:
        """Above which a trial on so many ranks cannot win; None where speed does not decide."""
        if self.kind in ("memory", "pareto"):
            return None
        seconds = best.median_step_seconds * (1 + BEATEN_BY)
        return seconds * best.ranks / ranks if self.kind == "cost" else seconds

    def beside(self, baseline: Trial) -> Objective:
        """With what only the baseline's trial can say."""
        m = measurement_of(baseline.outcome)
        return self if m is None else self.with_floor(m.tokens_per_second)

    def with_floor(self, tokens_per_second: float) -> Objective:
        """Where memory is to be the least and no floor was typed."""
        if not self.takes_floor_of_baseline:
            return self
        return replace(self, throughput_floor=tokens_per_second)

    @property
    def takes_floor_of_baseline(self) -> bool:
        """Nobody typed one. Still so beside a baseline that was not measured: then none holds."""
        return self.kind == "memory" and self.throughput_floor is None

    def scaled(self, factor: float) -> Objective:
        """For where everything is so many times as fast."""
        floor = self.throughput_floor
        return self if floor is None else replace(self, throughput_floor=floor * factor)

    def without_floor(self) -> Objective:
        """For where the floor that was typed means nothing."""
        return replace(self, throughput_floor=None)

    @property
    def _floor(self) -> float:
        return self.throughput_floor or 0.0


THROUGHPUT = Objective(kind="throughput", target_tokens=1e9)


def objective_from_mapping(values: Mapping[str, Any]) -> Objective:
    """Checks the group ``objective``. Raises UsageError naming the setting."""
    objective = group_from_mapping(Objective, values, "objective.")
    if objective.kind == "cost" and not objective.price_per_device_hour:
        raise UsageError(
            "objective=cost needs the price of a device for an hour; "
            "type objective.price_per_device_hour=2.5, or objective=time_to_target"
        )
    return objective
