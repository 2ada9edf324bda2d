"""What a rank needs in any case of a model of which no more is known than its parameters' sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sweeper.core.memory.pieces import Piece, Place, Sizes
from sweeper.core.memory.share import Share
from sweeper.core.memory.states import states
from sweeper.core.settings import Settings

_OF_THE_OPTIMIZER = ("master weights", "optimizer states", "gradients")


def least_bytes(settings: Settings, sizes: Sizes, trained_sizes: Sizes) -> Mapping[Place, int]:
    """Of weights, and of the optimizer's states of those that are trained: always there.

    Nothing where the model is cut in ways that depend on its layers.
    """
    degrees = settings.parallel
    if max(degrees.tensor, degrees.pipeline, degrees.expert) > 1 or not sizes:
        return {}
    of_all, of_trained = (states(settings, _share(settings, s)) for s in (sizes, trained_sizes))
    lasting = [
        *(piece for piece in of_all if piece.component == "parameters"),
        *(piece for piece in of_trained if piece.component in _OF_THE_OPTIMIZER),
    ]
    places: tuple[Place, ...] = ("device", "host")
    if settings.hardware.accelerator == "cpu":
        return {"host": sum(_always(lasting, place) for place in places)}
    return {place: found for place in places if (found := _always(lasting, place))}


def _always(pieces: Iterable[Piece], place: Place) -> int:
    return round(sum(p.bytes for p in pieces if p.phase == "always" and p.place == place))


def _share(settings: Settings, sizes: Sizes) -> Share:
    return Share(
        sizes=sizes,
        blocks=0,
        samples=settings.batch.micro_size,
        tokens=settings.workload.sequence_length,
        accumulation_steps=1,
        zero_ranks=max(settings.data_parallel * settings.parallel.sequence, 1),
        in_flight=1,
        sharded=1.0,
        outside=sum(numel * count for numel, count in sizes),
        tensor_ranks=1,
    )
