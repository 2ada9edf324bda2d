"""What settings need of memory, what there is of it, and how likely that is enough."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.core.machine import Machine
from sweeper.core.memory.calibration import FIT_MARGIN, Calibration, MemoryEstimate, fits
from sweeper.core.memory.demand import SURELY_FITS, Demand, on_the_host, worst_level
from sweeper.core.memory.model import CPU_UNTOUCHED_BASE_BYTES, MemoryNeed, memory_need
from sweeper.core.memory_limit import MemoryLimit, memory_limit
from sweeper.core.model_profile import ModelProfile
from sweeper.core.settings import Settings
from sweeper.core.what_fits import Fit, round_sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Of ``nodes``, the fullest: how many ranks share its host, which has ``host_bytes``, if known."""

    nodes: int
    ranks: int
    host_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Before any trial. ``limit``, ``on_rank`` and ``fit`` are None where no device is known.

    ``on_host`` is None where the host is not known, or is the device.
    """

    settings: Settings
    need: MemoryNeed
    estimate: MemoryEstimate
    limit: MemoryLimit | None
    node: Node
    on_rank: Demand | None
    on_host: Demand | None
    fit: Fit | None

    @property
    def base_bytes(self) -> int:
        """What counts within the limit of a model of no size, too."""
        untouched = CPU_UNTOUCHED_BASE_BYTES if self.need.shared else 0
        return self.need.component("framework base") + untouched

    @property
    def is_host_short(self) -> bool:
        """Of the host there is less, for what is needed, than of a device."""
        on_rank, on_host = self.on_rank, self.on_host
        return None not in (on_rank, on_host) and on_host.fullness > on_rank.fullness  # type: ignore[union-attr]

    @property
    def sufficient_host_bytes(self) -> int | None:
        """The smallest round size that surely is enough; None where a device is in the way too."""
        if self.on_host is None or self.on_rank is None or self.on_rank.probability < 0.5:
            return None
        return next((n for n in round_sizes() if fits(self.on_host.estimate, n)), None)

    @property
    def base_is_too_large(self) -> bool:
        """So that no settings surely fit."""
        limit = self.limit
        return limit is not None and self.base_bytes > limit.bytes * (1.0 - FIT_MARGIN)


def judge(settings: Settings, profile: ModelProfile, machine: Machine, node: Node) -> Judgement:
    """Of settings that act and that the rules allow."""
    need = memory_need(settings, profile)
    estimate = Calibration().estimate(settings, need)
    limit = memory_limit(settings, machine)
    on_rank = on_host = None
    if limit is not None:
        on_rank = Demand(who="a rank", estimate=estimate, limit_bytes=limit.bytes)
    if node.host_bytes is not None and not need.shared:  # else the limit is the host's already
        on_host = on_the_host(need, ranks=node.ranks, host_memory_bytes=node.host_bytes)
    return Judgement(
        settings=settings,
        need=need,
        estimate=estimate,
        limit=limit,
        node=node,
        on_rank=on_rank,
        on_host=on_host,
        fit=_fit(need, estimate, node, [d for d in (on_rank, on_host) if d]) if on_rank else None,
    )


def _fit(need: MemoryNeed, estimate: MemoryEstimate, node: Node, demands: list[Demand]) -> Fit:
    return Fit(
        mean_bytes=estimate.mean_bytes + estimate.untouched_bytes,
        host_bytes=0 if need.shared else need.host_bytes * node.ranks,
        probability=min(d.probability for d in demands),
        enough=worst_level(demands) == SURELY_FITS,
        fullness=max(d.fullness for d in demands),
    )
