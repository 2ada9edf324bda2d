"""The knobs of a study and the values that each may take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

# A parameter of more whole numbers is taken as a continuous one.
MAX_LISTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few values, each as it is typed after the ``=``."""

    values: tuple[str, ...]

    def points(self) -> tuple[str, ...]:
        return self.values

    def bounds(self) -> tuple[str, ...]:
        """What to look at before a study, as what goes wrong with a value goes wrong with one of these."""
        return self.values

    def holds(self, text: str) -> bool:
        return text in self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class IntRange:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def points(self) -> tuple[str, ...] | None:
        """None where there are too many to list."""
        values = range(self.low, self.high + 1, self.step)
        return None if len(values) > MAX_LISTED else tuple(map(str, values))

    def bounds(self) -> tuple[str, ...]:
        return (str(self.low), str(self.high)) if self.low < self.high else (str(self.low),)

    def holds(self, text: str) -> bool:
        return text.lstrip("-").isdigit() and int(text) in range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatRange:
    """Numbers from ``low`` to ``high``; in steps, or anything between."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def points(self) -> tuple[str, ...] | None:
        """None where there are uncountably many."""
        if self.step is None:
            return None
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(str(self.low + i * self.step) for i in range(count))

    def bounds(self) -> tuple[str, ...]:
        points = self.points() or (repr(self.low), repr(self.high))
        return tuple(dict.fromkeys((points[0], points[-1])))

    def holds(self, text: str) -> bool:
        points = self.points()
        if points is not None:
            return text in points
        try:
            return self.low <= float(text) <= self.high
        except ValueError:
            return False


Domain: TypeAlias = Choice | IntRange | FloatRange
Point: TypeAlias = Mapping[str, str]
Identity: TypeAlias = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """Parameters by the name that is typed before the ``=``: ``zero``, ``batch.micro_size``, ``+model``."""

    parameters: Mapping[str, Domain]

    @property
    def size(self) -> int | None:
        """Number of points; None where it is not finite."""
        sizes = [domain.points() for domain in self.parameters.values()]
        return None if None in sizes else math.prod(len(points or ()) for points in sizes)

    def points(self) -> Iterator[dict[str, str]]:
        """Every point of a finite space."""
        axes = [domain.points() or () for domain in self.parameters.values()]
        for values in itertools.product(*axes):
            yield dict(zip(self.parameters, values, strict=True))


def identity(point: Point) -> Identity:
    """Equal for equal points, in whatever order they were put together."""
    return frozenset(point.items())


def as_overrides(point: Point) -> tuple[str, ...]:
    """``{"zero": "stage2"}`` -> ``("zero=stage2",)``"""
    return tuple(f"{name}={value}" for name, value in point.items())
