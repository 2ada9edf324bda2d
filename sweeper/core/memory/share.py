"""What one rank has of a model: of its parameters, blocks, samples and tokens."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from sweeper.core.memory.pieces import Sizes
from sweeper.core.model_profile import ModelProfile
from sweeper.core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``in_flight`` micro-batches wait for their backward pass at once.

    ``has_embedding`` and ``has_head``: what stands before and behind the blocks, each at an end of a pipeline.
    """

    sizes: Sizes
    blocks: int
    samples: int
    tokens: float
    accumulation_steps: int
    zero_ranks: int
    in_flight: int
    sharded: float  # share of a block's inner activations
    outside: int  # parameters that are not in blocks
    tensor_ranks: int
    has_embedding: bool = True
    has_head: bool = True
    experts_elsewhere: float = 0.0  # elements of those that the other ranks of an expert group have

    @property
    def parameters(self) -> int:
        return sum(numel * count for numel, count in self.sizes)

    @property
    def largest_parameter(self) -> int:
        return max((numel for numel, _ in self.sizes), default=0)

    @property
    def own(self) -> float:
        """Elements of the partition that ZeRO gives to a rank.

        Experts are partitioned over the ranks that have the same ones alone (source: DeepSpeed,
        stage_1_and_2.py, expert_dp_process_group): the more are elsewhere, the fewer share one.
        """
        return (self.parameters + self.experts_elsewhere) / self.zero_ranks

    @property
    def own_at_stage_3(self) -> float:
        """As ``own``; what tensor parallelism leaves whole stays cut over its ranks too.

        ``zero.Init`` cuts before AutoTP comes, which partitions anew only what it takes (run).
        """
        if self.tensor_ranks == 1:
            return self.own
        return self.own - self.outside / self.zero_ranks * (1 - 1 / self.tensor_ranks)

    def up_to(self, numel: float) -> float:
        """Elements of the parameters that are no larger."""
        return sum(size * count for size, count in self.sizes if size <= numel)


def shares_of(settings: Settings, profile: ModelProfile) -> tuple[Share, ...]:
    """By the degrees of parallelism, of each kind of rank that there is: a pipeline's stages differ."""
    degrees = settings.parallel
    sizes, elsewhere = Counter(dict(profile.parameter_sizes)), 0.0
    if degrees.tensor > 1:
        sizes = _tensor_share(profile, degrees.tensor)
    if degrees.expert > 1:
        sizes = _expert_share(profile, degrees.expert)
        elsewhere = profile.num_parameters - float(_elements(sizes))
    accumulation_steps = settings.workload.global_batch_size // max(
        settings.batch.micro_size * settings.data_parallel, 1
    )
    whole = Share(
        sizes=_present(sizes),
        blocks=profile.num_blocks,
        samples=settings.batch.micro_size,
        tokens=settings.workload.sequence_length / degrees.sequence,
        accumulation_steps=max(accumulation_steps, 1),
        zero_ranks=max(settings.data_parallel * degrees.sequence, 1),
        in_flight=1,
        sharded=1.0 / degrees.tensor,
        outside=profile.num_parameters - profile.num_blocks * profile.parameters_per_block,
        tensor_ranks=degrees.tensor,
        experts_elsewhere=elsewhere,
    )
    if degrees.pipeline == 1:
        return (whole,)
    return tuple(_stages(whole, profile, degrees.pipeline))


def _elements(sizes: Counter[int]) -> int:
    return sum(numel * count for numel, count in sizes.items())


def _present(sizes: Counter[int]) -> Sizes:
    return tuple(sorted((n, c) for n, c in sizes.items() if c > 0))


def _tensor_share(profile: ModelProfile, degree: int) -> Counter[int]:
    """Matrices of the blocks are cut, everything else is on every rank."""
    sizes = Counter(dict(profile.parameter_sizes))
    largest = max((size for size, _ in profile.block_parameter_sizes), default=0)
    for size, count in profile.block_parameter_sizes:
        if size * 100 >= largest:
            sizes[size] -= count * profile.num_blocks
            sizes[size // degree] += count * profile.num_blocks
    return sizes


def _expert_share(profile: ModelProfile, degree: int) -> Counter[int]:
    """Each rank has its share of the experts, whole."""
    sizes = Counter(dict(profile.parameter_sizes))
    left = profile.expert_parameters_per_block * (degree - 1) / degree
    for size, count in sorted(profile.block_parameter_sizes, key=lambda s: -s[0] * s[1]):
        gone = min(count, round(left / size))
        sizes[size] -= gone * profile.num_blocks
        left -= gone * size
    return sizes


def _stages(whole: Share, profile: ModelProfile, stages: int) -> Iterator[Share]:
    """Each stage's share. The parts outside the blocks stand at the ends of the chain."""
    weights = (
        profile.first_stage_parameters,
        *[profile.parameters_per_block] * profile.num_blocks,
        profile.last_stage_parameters,
    )
    last = len(weights) - 1
    for stage, (start, end) in enumerate(pairwise(balanced(weights, stages))):
        blocks = sum(1 for i in range(start, end) if 0 < i < last)
        sizes = Counter({size: count * blocks for size, count in profile.block_parameter_sizes})
        for at_end in {0, last} & set(range(start, end)):
            sizes[weights[at_end]] += 1
        yield replace(
            whole,
            sizes=_present(sizes),
            blocks=blocks,
            # 1F1B: a stage has started as many micro-batches as there are stages from it to the end
            # when the first comes back (source: pipe/schedule.py, TrainSchedule.num_pipe_buffers).
            in_flight=min(stages - stage, whole.accumulation_steps),
            has_embedding=start == 0 < end,
            has_head=start <= last < end,
        )


@functools.lru_cache(maxsize=256)
def balanced(weights: tuple[int, ...], parts: int) -> tuple[int, ...]:
    """Where DeepSpeed cuts a chain: contiguous parts whose heaviest and lightest differ least.

    Found part by part, as it does (source: runtime/utils.py, partition_balanced): of a first so many
    parts only the best cut is kept.
    """
    num = len(weights)
    if num <= parts:
        return (*range(num), *[num] * (parts - num + 1))
    before = [0, *accumulate(weights)]
    # of the first i weights: heaviest part, lightest, and where the last one begins
    best: dict[int, tuple[float, float, int]] = {0: (0.0, math.inf, 0)}
    cuts: list[dict[int, int]] = []
    for count in range(1, parts + 1):
        found: dict[int, tuple[float, float, int]] = {}
        for end in range(count, num + 1):
            options = (
                (
                    max(heaviest, before[end] - before[at]),
                    min(lightest, before[end] - before[at]),
                    at,
                )
                for at, (heaviest, lightest, _) in best.items()
                if at < end
            )
            found[end] = min(options, key=lambda o: (o[0] - o[1], -o[2]))
        cuts.append({end: at for end, (_, _, at) in found.items()})
        best = found
    places = [num]
    for cut in reversed(cuts):
        places.append(cut[places[-1]])
    return tuple(reversed(places))
