"""One-dimensional densities for autoregressive models, in the manner of ``torch.distributions``."""

from trajectory_adacat.distributions.adacat import AdaCat
from trajectory_adacat.distributions.fixed_bins import FixedBins
from trajectory_adacat.distributions.piecewise import PiecewiseConstant
from trajectory_adacat.distributions.smoothing import TruncatedUniform

__all__ = ["AdaCat", "FixedBins", "PiecewiseConstant", "TruncatedUniform"]
