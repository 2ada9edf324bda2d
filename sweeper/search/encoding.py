"""Points of a search space as rows of numbers, on which a distance can be measured."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeper.core.space import Domain, FloatRange, IntRange, Point, SearchSpace

Rows = NDArray[np.float64]

ABSENT = np.nan  # of a parameter that does nothing at a point
_RANGE_WIDTH = 10.0


@dataclass(frozen=True, slots=True)
class Column:
    """``ordered``: values have a distance; otherwise they are equal or not."""

    name: str
    domain: Domain
    ordered: bool
    places: dict[str, float]

    @property
    def width(self) -> float:
        """Distance between the values that are farthest apart."""
        if not self.ordered:
            return 1.0
        return max(len(self.places) - 1.0, 1.0) if self.places else _RANGE_WIDTH

    def place(self, text: str) -> float:
        """In steps from the first value; of a range, in tenths of its width."""
        known = self.places.get(text)
        if known is not None:
            return known
        assert isinstance(self.domain, IntRange | FloatRange)
        low, high, value = float(self.domain.low), float(self.domain.high), float(text)
        if self.domain.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return _RANGE_WIDTH * (value - low) / max(high - low, 1e-12)


class Encoding:
    """A row has one column a parameter: a place in its values, NaN where the parameter is absent."""

    def __init__(self, space: SearchSpace) -> None:
        self.columns = [_column(name, domain) for name, domain in space.parameters.items()]
        self._ordered = [column.ordered for column in self.columns]
        # exp(-decay * distance) is positive definite only where absence is this far from any value: in
        # a sum over weights c, values w apart give at most w/2 * sum(c)^2, absence takes off twice its
        # distance times sum(c)^2 (Schoenberg, 1938).
        self._absence = [max(1.0, column.width / 4) for column in self.columns]

    def row(self, point: Point) -> list[float]:
        return [c.place(point[c.name]) if c.name in point else ABSENT for c in self.columns]

    def distances(self, left: Rows, right: Rows) -> Rows:
        """(n, columns) and (m, columns) -> (columns, n, m).

        In steps where values are ordered, else 0 or 1; of a parameter that is absent, equally far from
        any value of it.
        """
        result = np.empty((len(self.columns), len(left), len(right)))
        for index, ordered in enumerate(self._ordered):
            a, b = left[:, index, None], right[None, :, index]
            np.abs(a - b, out=result[index])
            if not ordered:
                result[index] = result[index] > 0
            absent_a, absent_b = np.isnan(a), np.isnan(b)
            if absent_a.any() or absent_b.any():
                apart = np.where(absent_a != absent_b, self._absence[index], 0.0)
                np.copyto(result[index], apart, where=absent_a | absent_b)
        return result


def _column(name: str, domain: Domain) -> Column:
    points = domain.points()
    if points is None or isinstance(domain, IntRange | FloatRange):
        return Column(name, domain, True, {})
    numbers = [_number(text) for text in points]
    ordered = len(points) > 2 and None not in numbers and numbers == sorted(numbers)  # type: ignore[type-var]
    return Column(name, domain, ordered, {text: float(i) for i, text in enumerate(points)})


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def neighbours(point: Point, space: SearchSpace) -> Iterator[dict[str, str]]:
    """Points that differ in one parameter: by one step where its values are ordered."""
    for column in Encoding(space).columns:
        points = column.domain.points()
        if column.name not in point or points is None:
            continue
        own = points.index(point[column.name]) if point[column.name] in points else None
        for index, text in enumerate(points):
            near = own is None or not column.ordered or abs(index - own) == 1
            if text != point[column.name] and near:
                yield {**point, column.name: text}


def drawn(space: SearchSpace, count: int, source: random.Random) -> Iterator[dict[str, str]]:
    """Points drawn evenly, with repeats."""
    draws = {name: _drawer(domain, source) for name, domain in space.parameters.items()}
    for _ in itertools.repeat(None, count):
        yield {name: draw() for name, draw in draws.items()}


def _drawer(domain: Domain, source: random.Random) -> Callable[[], str]:
    points = domain.points()
    if points is not None:
        return lambda: source.choice(points)
    assert isinstance(domain, IntRange | FloatRange)
    low, high = float(domain.low), float(domain.high)

    def value() -> float:
        if domain.log:
            return math.exp(source.uniform(math.log(low), math.log(high)))
        return source.uniform(low, high)

    if isinstance(domain, FloatRange):
        return lambda: repr(min(max(value(), low), high))
    step = domain.step
    return lambda: str(domain.low + step * int((value() - domain.low) / step))
