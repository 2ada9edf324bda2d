"""The points that a practitioner would try first, for this model and this memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from sweeper.core.space import Domain, Point, SearchSpace

# Names under which a space may have the three knobs that a practitioner turns first.
_STAGES = ("zero", "zero.stage")
_OFFLOADS = ("offload", "offload.optimizer")
_MICRO_SIZES = ("batch.micro_size",)
_NO_OFFLOAD = "none"


def seeds(
    space: SearchSpace,
    start: Point,
    *,
    likelihood: Callable[[Point], float],
    count: int,
) -> list[Point]:
    """At most ``count`` points, the most promising first; ``start`` gives what they do not vary.

    The largest micro-batch that fits at the lowest stage that fits; one step of the micro-batch to
    either side, the next stage; then each further step of offload, at the largest micro-batch that
    fits with it. ``likelihood`` says of a point how likely it is to be legal and to fit.
    """
    ladder = _Ladder(space, start, likelihood)
    found: dict[tuple[tuple[str, str], ...], Point] = {}
    for point in ladder.points():
        found.setdefault(tuple(sorted(point.items())), point)
    return list(islice(found.values(), count))


class _Ladder:
    def __init__(
        self, space: SearchSpace, start: Point, likelihood: Callable[[Point], float]
    ) -> None:
        self._parameters = space.parameters
        self._start = {n: start.get(n, _first(d)) for n, d in space.parameters.items()}
        self._likelihood = likelihood
        self._stage = _present(_STAGES, space.parameters)
        self._offload = _present(_OFFLOADS, space.parameters)
        self._micro_size = _present(_MICRO_SIZES, space.parameters)

    def points(self) -> Iterator[Point]:
        """Each that fits, as far as is known."""
        stages = self._values(self._stage)
        offloads = self._values(self._offload)
        own = [o for o in offloads if o in (None, _NO_OFFLOAD)] or offloads[:1]
        lowest = next(
            ((i, p) for i, s in enumerate(stages) if (p := self._largest(s, own[0]))), None
        )
        if lowest is not None:
            index, point = lowest
            yield point
            yield from self._one_step_either_side(point)
            for stage in stages[index + 1 : index + 2]:
                yield from filter(None, [self._largest(stage, own[0])])
        for offload in (o for o in offloads if o not in own):
            rungs = (self._largest(stage, offload) for stage in stages)
            yield from islice((point for point in rungs if point), 1)

    def _largest(self, stage: str | None, offload: str | None) -> Point | None:
        """With the largest micro-batch that fits."""
        for micro_size in reversed(self._values(self._micro_size)):
            point = self._with(
                {self._stage: stage, self._offload: offload, self._micro_size: micro_size}
            )
            if self._likelihood(point) >= 0.5:
                return point
        return None

    def _one_step_either_side(self, point: Point) -> Iterator[Point]:
        sizes = self._values(self._micro_size)
        if self._micro_size is None or point[self._micro_size] not in sizes:
            return
        index = sizes.index(point[self._micro_size])
        for neighbour in (index + 1, index - 1):
            if 0 <= neighbour < len(sizes):
                candidate = {**point, self._micro_size: str(sizes[neighbour])}
                if self._likelihood(candidate) > 0:  # above it is a try, where it may yet fit
                    yield candidate

    def _values(self, name: str | None) -> list[str | None]:
        if name is None:
            return [None]
        points = self._parameters[name].points() or ()
        return list(sorted(points, key=float) if name in _MICRO_SIZES else points)

    def _with(self, values: Mapping[str | None, str | None]) -> Point:
        given = {n: v for n, v in values.items() if n is not None and v is not None}
        return {**self._start, **given}


def _present(names: tuple[str, ...], parameters: Mapping[str, Domain]) -> str | None:
    return next((n for n in names if n in parameters and parameters[n].points()), None)


def _first(domain: Domain) -> str:
    points = domain.points()
    return points[0] if points else str(getattr(domain, "low", ""))
