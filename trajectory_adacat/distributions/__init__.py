"""One-dimensional densities for autoregressive models, in the manner of ``torch.distributions``."""

import trajectory_adacat.distributions.divergence  # noqa: F401  (registers the divergences)
from trajectory_adacat.distributions.adacat import AdaCat
from trajectory_adacat.distributions.fixed_bins import FixedBins
from trajectory_adacat.distributions.logistic_mixture import LogisticMixture
from trajectory_adacat.distributions.piecewise import PiecewiseConstant
from trajectory_adacat.distributions.smoothing import TruncatedNormal, TruncatedUniform
from trajectory_adacat.distributions.smoothing_schedule import SmoothingSchedule

__all__ = [
    "AdaCat",
    "FixedBins",
    "LogisticMixture",
    "PiecewiseConstant",
    "SmoothingSchedule",
    "TruncatedNormal",
    "TruncatedUniform",
]
