"""Numbers of recorded rollouts that figures and reports draw: histograms of the predictive cdf, and densities."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.recording import Recording

PIT_BINS = 20
PARTS = {"observation": slice(None, -1), "reward": slice(-1, None)}  # columns of `Recording.pit`


class Density(NamedTuple):
    """The density of one dimension, constant in each of k bins, in the units of the environment.

    Attributes:
        edges: of the bins, ``[k + 1]``.
        all: density, ``[k]``.
        kept: density after the cutoffs, ``[k]``.
        kept_mass: share of the mass that the cutoffs keep.
    """

    edges: NDArray[Any]
    all: NDArray[Any]
    kept: NDArray[Any]
    kept_mass: float


def pit_histograms(pits: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, dict[str, NDArray[Any]]]:
    """Return histograms of the predictive cdf at what happened, as densities over `PIT_BINS` equal bins of [0, 1].

    Args:
        pits: `Recording.pit` of the recordings of each method, by its name.

    Returns:
        By part of a transition, ``observation`` or ``reward``, and by method; methods without any number are left out.
    """
    found: dict[str, dict[str, NDArray[Any]]] = defaultdict(dict)
    for part, columns in PARTS.items():
        for name, arrays in pits.items():
            values = np.concatenate([np.empty(0), *(array[:, columns].ravel() for array in arrays)])
            counts, _ = np.histogram(values[np.isfinite(values)], PIT_BINS, (0.0, 1.0))
            if counts.sum():
                found[part][name] = counts * PIT_BINS / counts.sum()
    return dict(found)


def names_of_dimensions(recording: Recording) -> list[str]:
    """Return the names of all dimensions of a transition."""
    names = recording.description["names"]
    return [*names["observation"], *names["action"], "reward", "value"]


def density_of(recording: Recording, plan: int, dimension: int) -> Density:
    """Return what the model predicted of a dimension of the first transition that a plan imagines.

    Args:
        recording: of a model with bins.
        plan: number of the recorded plan.
        dimension: number of the dimension.
    """
    widths = recording.widths[plan, dimension].astype(np.float64)
    masses = recording.masses[plan, dimension].astype(np.float64)
    low, span = float(recording.low[dimension]), float(recording.high[dimension] - recording.low[dimension]) or 1.0
    edges = low + span * np.concatenate([[0.0], widths.cumsum()])
    kept = np.where(recording.kept[plan, dimension], masses, 0.0)
    of_width = np.divide(1.0, widths * span, out=np.zeros_like(widths), where=widths > 0.0)
    return Density(edges, masses * of_width, kept / (kept.sum() or 1.0) * of_width, float(kept.sum()))


def what_came(recording: Recording, plan: int, dimension: int) -> float | None:
    """Return the real number that `density_of` predicts; None for the value, and after the end."""
    step, n_observed = int(recording.steps[plan]), recording.observations.shape[1]
    if dimension < n_observed:
        return float(recording.observations[step + 1, dimension]) if step + 1 < len(recording.observations) else None
    real = [*recording.actions[step], recording.rewards[step]]
    place = dimension - n_observed
    return float(real[place]) if place < len(real) else None
