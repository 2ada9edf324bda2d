"""What one rank has of a model: of its parameters, blocks, samples and tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sweeper.core.memory.pieces import Sizes
from sweeper.core.model_profile import ModelProfile
from sweeper.core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Of the rank that has most. ``in_flight`` micro-batches wait for their backward pass at once."""

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

    @property
    def parameters(self) -> int:
        return sum(numel * count for numel, count in self.sizes)

    @property
    def largest_parameter(self) -> int:
        return max((numel for numel, _ in self.sizes), default=0)

    @property
    def own(self) -> float:
        """Elements of the partition that ZeRO gives to a rank."""
        return self.parameters / self.zero_ranks

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


def share_of(settings: Settings, profile: ModelProfile) -> Share:
    """By the degrees of parallelism; ranks that differ are represented by the heaviest."""
    degrees = settings.parallel
    sizes = Counter(dict(profile.parameter_sizes))
    if degrees.tensor > 1:
        sizes = _tensor_share(profile, degrees.tensor)
    if degrees.expert > 1:
        sizes = _expert_share(profile, degrees.expert)
    blocks, stages = profile.num_blocks, degrees.pipeline
    accumulation_steps = settings.workload.global_batch_size // max(
        settings.batch.micro_size * settings.data_parallel, 1
    )
    if stages > 1:
        sizes, blocks = _stage_share(profile, stages)
    return Share(
        sizes=tuple(sorted((n, c) for n, c in sizes.items() if c > 0)),
        blocks=blocks,
        samples=settings.batch.micro_size,
        tokens=settings.workload.sequence_length / degrees.sequence,
        accumulation_steps=max(accumulation_steps, 1),
        zero_ranks=max(settings.data_parallel * degrees.sequence, 1),
        # 1F1B: the first stage has started as many micro-batches as there are stages when the first
        # comes back (source: pipe/schedule.py, TrainSchedule.num_pipe_buffers).
        in_flight=max(min(stages, accumulation_steps), 1),
        sharded=1.0 / degrees.tensor,
        outside=profile.num_parameters - profile.num_blocks * profile.parameters_per_block,
        tensor_ranks=degrees.tensor,
    )


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


def _stage_share(profile: ModelProfile, stages: int) -> tuple[Counter[int], int]:
    """Parameters and blocks of the stage with most parameters.

    DeepSpeed balances the stages by parameters (source: PipelineModule, partition_method
    "parameters"). The parts outside the blocks stand at the ends of the chain.
    """
    weights = [
        profile.first_stage_parameters,
        *[profile.parameters_per_block] * profile.num_blocks,
        profile.last_stage_parameters,
    ]
    cuts = _balanced(weights, stages)
    worst = max(cuts, key=lambda cut: sum(weights[slice(*cut)]))
    blocks = sum(1 for i in range(*worst) if 0 < i < len(weights) - 1)
    sizes = Counter({size: count * blocks for size, count in profile.block_parameter_sizes})
    for end, numel in ((0, weights[0]), (len(weights) - 1, weights[-1])):
        if worst[0] <= end < worst[1] and numel:
            sizes[numel] += 1
    return sizes, blocks


def _balanced(weights: list[int], parts: int) -> list[tuple[int, int]]:
    """Contiguous parts of which the heaviest is as light as can be: bisection on its weight."""
    low, high = max(weights), sum(weights)
    while low < high:
        middle = (low + high) // 2
        if len(_filled(weights, middle)) <= parts:
            high = middle
        else:
            low = middle + 1
    return _filled(weights, low)


def _filled(weights: list[int], capacity: int) -> list[tuple[int, int]]:
    parts, start, total = [], 0, 0
    for index, weight in enumerate(weights):
        if total + weight > capacity and index > start:
            parts.append((start, index))
            start, total = index, 0
        total += weight
    return [*parts, (start, len(weights))]
