"""A Gaussian process over points: what a trial would give, and how sure that is.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006): prediction is algorithm 2.1,
the hyperparameters maximise its log marginal likelihood together with a prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Distances = Callable[[Array, Array], Array]

# Fitted anew while this few are known, then each time a tenth has been added.
_ALWAYS_FITTED = 40
_MAX_FITTED_TO = 80  # results, spread evenly over those there are
_SWEEPS = 2
_FACTORS = (0.4, 0.7, 1.4, 2.5)
# Prior of a column's decay for one step, and how far (in logarithms) it may be off.
_DECAY, _DECAY_SPREAD = 0.3, 1.2
_NOISE_SPREAD = 0.7
# Deviations from what all others say, beyond which a value is doubted, and how often that is asked.
_DOUBTFUL = 3.0
_DOUBTS = 3


class Surrogate:
    """``fit`` takes rows, values and each value's own variance; ``predict`` gives mean and deviation.

    The kernel mixes what each column does by itself with what all do together:
    ``additive * mean_j(k_j) + (1 - additive) * prod_j(k_j)``, ``k_j = exp(-decay_j * distance_j)``.
    """

    def __init__(self, columns: int, distances: Distances) -> None:
        self._distances = distances
        self._decays = np.full(columns, _DECAY)
        self._additive = 0.5
        self._extra_noise = 1e-3  # relative to the values' variance, beside what is known of each
        self._fitted_for = 0

    def fit(self, rows: Array, values: Array, variances: Array) -> None:
        self._rows = rows
        self._mean = float(values.mean())
        self._scale = float(max(values.std(), 1e-3))
        self._y = (values - self._mean) / self._scale
        self._noise = variances / self._scale**2
        self._own = self._distances(rows, rows)
        self._doubt_what_stands_alone()
        n = len(rows)
        if n < _ALWAYS_FITTED or n > 1.1 * self._fitted_for:
            some = np.unique(np.linspace(0, n - 1, min(n, _MAX_FITTED_TO)).astype(int))
            self._improve(some)
            self._fitted_for = n
            self._noise = variances / self._scale**2
            self._doubt_what_stands_alone()
        self._factor = np.linalg.cholesky(self._covariance(self._own, self._noise))
        self._weights = np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, self._y))

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Means and standard deviations, in the values' own units."""
        cross = self._kernel(self._distances(rows, self._rows))
        mean = cross @ self._weights
        explained = np.linalg.solve(self._factor, cross.T)
        variance = np.maximum(1.0 - (explained**2).sum(axis=0), 1e-9)
        return self._mean + self._scale * mean, self._scale * np.sqrt(variance)

    def _doubt_what_stands_alone(self) -> None:
        """A value that all others contradict (a machine that was busy) is given their distance as noise.

        The others' prediction of each, without it: Rasmussen and Williams, equations 5.10 to 5.12.
        """
        for _ in range(_DOUBTS):
            inverse = np.linalg.inv(self._covariance(self._own, self._noise))
            precision = np.diag(inverse)
            distance = (inverse @ self._y) / precision
            doubtful = np.abs(distance) * np.sqrt(precision) > _DOUBTFUL
            if not doubtful.any():
                return
            self._noise = np.where(doubtful, self._noise + distance**2, self._noise)

    def _kernel(self, distances: Array) -> Array:
        single = np.exp(-self._decays[:, None, None] * distances)
        kernel: Array = self._additive * single.mean(axis=0)
        kernel += (1 - self._additive) * single.prod(axis=0)
        return kernel

    def _covariance(self, distances: Array, noise: Array) -> Array:
        return self._kernel(distances) + np.diag(noise + self._extra_noise + 1e-6)

    def _improve(self, some: NDArray[np.int_]) -> None:
        """Coordinate by coordinate, each tried at a few multiples of what it is."""
        self._tried_on = (self._own[:, some][:, :, some], self._noise[some], self._y[some])
        best = self._posterior()
        for _ in range(_SWEEPS):
            for index in range(len(self._decays)):
                best = self._better(best, self._set_decay, index, self._decays[index])
            best = self._better(best, self._set_noise, 0, self._extra_noise)
            for additive in (0.1, 0.3, 0.5, 0.7, 0.9):
                before, self._additive = self._additive, additive
                now = self._posterior()
                if now > best:
                    best = now
                else:
                    self._additive = before

    def _better(
        self, best: float, assign: Callable[[int, float], None], index: int, old: float
    ) -> float:
        kept = old
        for factor in _FACTORS:
            assign(index, old * factor)
            now = self._posterior()
            if now > best:
                best, kept = now, old * factor
        assign(index, kept)
        return best

    def _set_decay(self, index: int, value: float) -> None:
        self._decays[index] = value

    def _set_noise(self, index: int, value: float) -> None:
        self._extra_noise = value

    def _posterior(self) -> float:
        """Log of likelihood times prior, up to a constant."""
        distances, noise, values = self._tried_on
        try:
            factor = np.linalg.cholesky(self._covariance(distances, noise))
        except np.linalg.LinAlgError:
            return -math.inf
        half = np.linalg.solve(factor, values)
        likelihood = -0.5 * float(half @ half) - float(np.log(np.diag(factor)).sum())
        off = np.log(self._decays / _DECAY) / _DECAY_SPREAD
        noise_off = math.log(self._extra_noise / 1e-3) / (3 * _NOISE_SPREAD)
        return likelihood - 0.5 * float(off @ off) - 0.5 * noise_off**2
