"""Chooses the point that is most worth a trial: likely to be better than the best, and to run at all."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeper.core.space import Identity, Point, SearchSpace, identity
from sweeper.search.encoding import Encoding, drawn, neighbours
from sweeper.search.surrogate import Surrogate

Array = NDArray[np.float64]

# A space of so many points is looked at whole; of a larger one a sample, and the best ones' neighbours.
MAX_WHOLE = 2_000
_SAMPLE = 300
_NEIGHBOURS_OF = 4
# Trials that the surrogate is fitted to, at most: the best, and the latest.
_MAX_FITTED = 160
# Run to run the same configuration differs by about so much (as a share), beside what its steps show.
_RUN_TO_RUN = 0.02
# Nothing is left to find when the expected number of points that are better by this share is so small.
WORTH_FINDING = 0.01
_HOPELESS = 0.02
# Of so many choices one is next to the best: on the published grids this halves the worst seeds.
_BESIDE_EVERY = 2
# Below so many results the surrogate's opinion of what is left is no ground to stop.
_MIN_RESULTS_TO_STOP = 20
_MIN_SHARE_TO_STOP = 0.1
# A candidate runs as often as those like it did; without any, so often, with the weight of so many.
_RUNS, _RUNS_WEIGHT = 0.9, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a point gave: ``score`` is the logarithm of what is to be large; None where it did not run.

    Evidence is of another study: it says what to expect, and is no result to be improved on. That it
    ran there need not mean that it runs here.
    """

    point: Point
    score: float | None
    variance: float = 0.0
    is_evidence: bool = False
    says_whether_it_runs: bool = True


class Guide:
    """``acts`` and ``likelihood`` are asked of points: which parameters do anything, and whether it runs.

    ``likelihood`` is 0 for a point that is not to be tried.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int | None,
        acting: Callable[[Point], Point],
        likelihood: Callable[[Point], float],
    ) -> None:
        self._space = space
        self._acting = acting
        self._likelihood = likelihood
        self._random = random.Random(seed)
        self._encoding = Encoding(space)
        self._surrogate = Surrogate(len(self._encoding.columns), self._encoding.distances)
        self._results: list[Result] = []
        self._rows: list[list[float]] = []
        self._impossible: set[Identity] = set()
        self._whole = self._every_point()
        self.why_nothing_is_left = ""

    def learn(self, result: Result) -> None:
        self._results.append(result)
        self._rows.append(self._encoding.row(result.point))

    def choose(self, is_known: Callable[[Point], bool]) -> Point | None:
        """The next point to try; None where nothing is left that is worth it."""
        candidates = [p for p in self._candidates() if not is_known(p)]
        if not candidates:
            self.why_nothing_is_left = "every candidate of the space has been tried"
            return None
        order, hope = self._ranked(candidates)
        nothing_left = hope is not None and hope < _HOPELESS and self._has_seen_enough()
        if nothing_left or self._num_own() % _BESIDE_EVERY == 0:
            near = self._beside_the_best(candidates)
            beside = [i for i in order if i in near and self._likelihood(candidates[i]) >= 0.5]
            if nothing_left and not beside:
                self.why_nothing_is_left = (
                    f"nothing that is left is likely to be more than {WORTH_FINDING:.0%} better, "
                    "and all that is one step from the best has been tried"
                )
                return None
            order = [*beside, *order]
        return self._first_that_runs(candidates, order)

    def _beside_the_best(self, candidates: list[Point]) -> set[int]:
        """Indices of those that differ from the best result in one parameter, by one step.

        Of what it has not seen the surrogate may be wrong; the best is there more often than elsewhere.
        """
        own = [r for r in self._results if r.score is not None and not r.is_evidence]
        if not own:
            return set()
        best = max(own, key=lambda result: result.score or 0.0)
        beside = {identity(self._acting(p)) for p in neighbours(best.point, self._space)}
        return {i for i, point in enumerate(candidates) if identity(point) in beside}

    def _first_that_runs(self, candidates: list[Point], order: Iterable[int]) -> Point | None:
        """Those that probably do not run go to the back; those that surely do not are left out."""
        waiting: list[tuple[float, Point]] = []
        for index in order:
            point = candidates[index]
            chance = self._likelihood(point)
            if chance >= 0.5:
                return point
            if chance > 0:
                waiting.append((chance, point))
            else:
                self._impossible.add(identity(point))
        if not waiting:
            self.why_nothing_is_left = "every candidate that can be run has been tried"
            return None
        return max(waiting, key=lambda pair: pair[0])[1]

    def _ranked(self, candidates: list[Point]) -> tuple[list[int], float | None]:
        """Indices, the most promising first, and how many better ones to expect among them."""
        scored = [i for i, result in enumerate(self._results) if result.score is not None]
        if len(scored) < 2:
            return self._random.sample(range(len(candidates)), len(candidates)), None
        rows = np.array([self._encoding.row(point) for point in candidates])
        fitted = self._fitted(scored)
        known = np.array([self._rows[i] for i in fitted])
        scores = np.array([self._results[i].score for i in fitted], dtype=float)
        variances = np.array([self._results[i].variance + _RUN_TO_RUN**2 for i in fitted])
        self._surrogate.fit(known, scores, variances)
        # What the best is worth is what the surrogate makes of it: the largest of noisy numbers is too large.
        own = known[[not self._results[i].is_evidence for i in fitted]]
        best = float(self._surrogate.predict(own if len(own) else known)[0].max())
        mean, deviation = self._surrogate.predict(rows)
        runs = self._chance_to_run(rows)
        improvement = _expected_improvement(mean, deviation, best) * runs
        improvement = improvement * np.exp([1e-6 * self._random.random() for _ in candidates])
        hope = float((_above(mean, deviation, best + math.log1p(WORTH_FINDING)) * runs).sum())
        return [int(i) for i in np.argsort(-improvement)], hope

    def _fitted(self, scored: list[int]) -> list[int]:
        if len(scored) <= _MAX_FITTED:
            return scored
        by_score = sorted(scored, key=lambda i: -(self._results[i].score or 0.0))
        return sorted({*by_score[: _MAX_FITTED // 2], *scored[-_MAX_FITTED // 2 :]})

    def _chance_to_run(self, rows: Array) -> Array:
        """From what became of points that are alike, and of those that share a value."""
        telling = [i for i, result in enumerate(self._results) if result.says_whether_it_runs]
        latest = telling[-_MAX_FITTED:]
        ran = np.array([self._results[i].score is not None for i in latest], dtype=float)
        if ran.all():
            return np.ones(len(rows))
        usual = (ran.sum() + _RUNS * _RUNS_WEIGHT) / (len(ran) + _RUNS_WEIGHT)
        distances = self._encoding.distances(rows, np.array([self._rows[i] for i in latest]))
        alike = np.exp(-1.5 * distances.sum(axis=0))
        chances = [_rate(alike, ran, usual), *(_rate(d == 0, ran, usual) for d in distances)]
        chance: Array = np.min(chances, axis=0)
        return chance

    def _candidates(self) -> Iterable[Point]:
        points = self._whole if self._whole is not None else self._sample()
        return [p for p in points if identity(p) not in self._impossible]

    def _sample(self) -> list[Point]:
        """Of a large space: drawn points, and the neighbours of the best ones."""
        scored = [result for result in self._results if result.score is not None]
        best = sorted(scored, key=lambda r: -(r.score or 0.0))[:_NEIGHBOURS_OF]
        near = [p for result in best for p in neighbours(result.point, self._space)]
        points = [*near, *drawn(self._space, _SAMPLE, self._random)]
        return list(_distinct(map(self._acting, points)).values())

    def _every_point(self) -> list[Point] | None:
        size = self._space.size
        if size is None or size > MAX_WHOLE:
            return None
        return list(_distinct(map(self._acting, self._space.points())).values())

    def _has_seen_enough(self) -> bool:
        if self._whole is None:
            return False
        least = max(_MIN_RESULTS_TO_STOP, _MIN_SHARE_TO_STOP * len(self._whole))
        return self._num_own() >= least

    def _num_own(self) -> int:
        return sum(not result.is_evidence for result in self._results)


def _rate(weights: Array, ran: Array, usual: float) -> Array:
    """How often those of weight ran, with the usual rate where there are few."""
    rate: Array = (weights @ ran + usual * _RUNS_WEIGHT) / (weights.sum(axis=1) + _RUNS_WEIGHT)
    return rate


def _expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Jones, Schonlau and Welch (1998), for what is to be large."""
    ahead = (mean - best) / deviation
    density = np.exp(-0.5 * ahead**2) / math.sqrt(2 * math.pi)
    improvement: Array = deviation * (ahead * _normal(ahead) + density)
    return np.maximum(improvement, 1e-300)


def _above(mean: Array, deviation: Array, level: float) -> Array:
    return 1.0 - _normal((level - mean) / deviation)


def _normal(values: Array) -> Array:
    """The standard normal distribution function."""
    return np.array([0.5 * (1.0 + math.erf(v / math.sqrt(2.0))) for v in values])


def _distinct(points: Iterable[Point]) -> Mapping[Identity, Point]:
    return {identity(point): point for point in points}
