"""Kernels that smooth a training target (Section 3), truncated to the support and renormalized."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from trajectory_adacat.distributions.precision import answer_dtype, working


class TruncatedUniform(Distribution):
    """The uniform kernel ``Unif[loc - width / 2, loc + width / 2)``, truncated to ``[low, high]``.

    ``width`` is the paper's lambda, the full width of the kernel; code in circulation takes lambda as the half width.

    Args:
        loc: centre, in ``[low, high]``, any shape.
        width: full width before truncation, positive; a number or a tensor that broadcasts.
        low: lower end of the support.
        high: upper end of the support.
        validate_args: as in ``torch.distributions``.
    """

    has_rsample = True

    def __init__(
        self,
        loc: Tensor | float,
        width: Tensor | float,
        low: Tensor | float = 0.0,
        high: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.width, self.low, self.high = broadcast_all(loc, width, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """The centre lies in the support and the width is positive."""
        return {"loc": constraints.interval(self.low, self.high), "width": constraints.positive}

    @property
    def support(self) -> constraints.Constraint:
        """The interval to which the kernel is truncated."""
        return constraints.interval(self.low, self.high)

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """The two ends of the kernel after truncation, in the working precision."""
        loc, half = working(self.loc), working(self.width) / 2
        return (loc - half).maximum(working(self.low)), (loc + half).minimum(working(self.high))

    def cdf(self, value: Tensor) -> Tensor:
        """The mass below ``value``; 0 below the kernel and 1 above it."""
        start, end = self.interval
        share = (working(value) - start) / (end - start)
        return share.clamp(0, 1).to(answer_dtype(self.loc, value))

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> Any:
        """The same kernel with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(TruncatedUniform, _instance)
        loc, width, low, high = (part.expand(*batch_shape) for part in (self.loc, self.width, self.low, self.high))
        TruncatedUniform.__init__(new, loc, width, low, high, validate_args=False)
        new._validate_args = self._validate_args
        return new
