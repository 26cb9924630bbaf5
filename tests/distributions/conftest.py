"""A reference implementation of AdaCat in extended precision, independent of the package."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from torch import Tensor

Extended = np.longdouble


@dataclass(frozen=True)
class ExactAdaCat:
    """Rows of AdaCat densities ``[n, k]`` by definition (Equations 1, 2 and 8), in extended precision."""

    widths: np.ndarray
    masses: np.ndarray

    @classmethod
    def from_logits(cls, width_logits: Tensor, mass_logits: Tensor) -> "ExactAdaCat":
        return cls(_softmax(width_logits), _softmax(mass_logits))

    @property
    def edges(self) -> np.ndarray:
        return _partial_sums(self.widths)

    @property
    def log_density(self) -> np.ndarray:
        return np.log(self.masses / self.widths)

    def distance_to_edge(self, value: Tensor) -> np.ndarray:
        return np.abs(_column(value) - self.edges).min(axis=-1)

    def log_prob(self, value: Tensor) -> np.ndarray:
        return _take(self.log_density, _bin(self.edges, _column(value)))

    def cdf(self, value: Tensor) -> np.ndarray:
        index = _bin(self.edges, _column(value))
        fraction = (_column(value)[:, 0] - _take(self.edges, index)) / _take(self.widths, index)
        return _take(_partial_sums(self.masses), index) + _take(self.masses, index) * fraction

    def icdf(self, level: Tensor) -> np.ndarray:
        below = _partial_sums(self.masses)
        index = _bin(below, _column(level))
        fraction = (_column(level)[:, 0] - _take(below, index)) / _take(self.masses, index)
        return _take(self.edges, index) + _take(self.widths, index) * fraction

    def moment(self, power: int) -> np.ndarray:
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        mean_power = (low + high) / 2 if power == 1 else (low**2 + low * high + high**2) / 3
        return (self.masses * mean_power).sum(axis=-1)

    def entropy(self) -> np.ndarray:
        return -(self.masses * self.log_density).sum(axis=-1)

    def interval_log_prob(self, low: Tensor, high: Tensor) -> np.ndarray:
        start = np.maximum(self.edges[:, :-1], _column(low))
        end = np.minimum(self.edges[:, 1:], _column(high))
        return np.log((np.maximum(end - start, 0) * self.masses / self.widths).sum(axis=-1))

    def smoothed_log_prob(self, kernel_cdf: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return (np.diff(kernel_cdf(self.edges), axis=-1) * self.log_density).sum(axis=-1)

    def kl(self, other: "ExactAdaCat") -> np.ndarray:
        edges = np.sort(np.concatenate((self.edges, other.edges), axis=-1), axis=-1)
        middles = (edges[:, 1:] + edges[:, :-1]) / 2
        total = np.zeros(len(edges), dtype=Extended)
        for piece in range(middles.shape[-1]):
            log_p = _take(self.log_density, _bin(self.edges, middles[:, piece : piece + 1]))
            log_q = _take(other.log_density, _bin(other.edges, middles[:, piece : piece + 1]))
            total += (edges[:, piece + 1] - edges[:, piece]) * np.exp(log_p) * (log_p - log_q)
        return total


def _softmax(logits: Tensor) -> np.ndarray:
    weights = np.exp(logits.double().numpy().astype(Extended))
    return weights / weights.sum(axis=-1, keepdims=True)


def _partial_sums(parts: np.ndarray) -> np.ndarray:
    return np.concatenate((np.zeros_like(parts[:, :1]), parts.cumsum(axis=-1)), axis=-1)


def _column(value: Tensor) -> np.ndarray:
    return value.double().numpy().astype(Extended)[:, None]


def _bin(boundaries: np.ndarray, column: np.ndarray) -> np.ndarray:
    return ((boundaries <= column).sum(axis=-1) - 1).clip(0, boundaries.shape[-1] - 2)


def _take(per_bin: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(per_bin, index[:, None], axis=-1)[:, 0]


@pytest.fixture
def exact_adacat() -> type[ExactAdaCat]:
    if np.finfo(Extended).eps > 1e-18:
        pytest.skip("long double has no more precision than double on this platform")
    return ExactAdaCat
