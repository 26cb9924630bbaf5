"""AdaCat: bins with learned widths and masses (Sections 2.1 and 2.3)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from trajectory_adacat.distributions.piecewise import PiecewiseConstant, cumulative
from trajectory_adacat.distributions.precision import to_compute_dtype
from trajectory_adacat.distributions.smoothed_likelihood import smoothed_log_likelihood
from trajectory_adacat.distributions.smoothing import SmoothingKernel


class AdaCat(PiecewiseConstant):
    """Adaptive categorical distribution on [0, 1]: ``k`` adjacent bins, each with a width and a mass.

    The widths are ``softmax(width_logits)``, the masses ``softmax(mass_logits)`` (Equation 2). Zero width logits give
    uniform bins, zero mass logits adaptive quantiles (Section 2.2).

    Args:
        width_logits: the paper's psi, ``[..., k]``.
        mass_logits: the paper's phi, ``[..., k]``; -inf for a bin without mass.
        validate_args: as in ``torch.distributions``.

    Raises:
        ValueError: if the last dimensions differ or are empty, or the batch shapes do not broadcast.

    Example::

        >>> density = AdaCat(torch.zeros(4), torch.tensor([0.0, 1.0, 2.0, 0.0]))
        >>> density.log_prob(torch.tensor(0.6))
        tensor(0.8925)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        # Not real_vector: its check fails on an empty batch.
        "width_logits": constraints.real,
        "mass_logits": constraints.real,
    }
    support = constraints.unit_interval

    def __init__(self, width_logits: Tensor, mass_logits: Tensor, validate_args: bool | None = None) -> None:
        shapes = tuple(width_logits.shape), tuple(mass_logits.shape)
        if shapes[0][-1:] != shapes[1][-1:] or shapes[0][-1:] in ((), (0,)):
            raise ValueError(f"width_logits and mass_logits must end in the same number of bins, got shapes {shapes}.")
        if width_logits.shape != mass_logits.shape:
            width_logits, mass_logits = torch.broadcast_tensors(width_logits, mass_logits)
        self.width_logits = width_logits
        self.mass_logits = mass_logits
        super().__init__(mass_logits, validate_args=validate_args)

    @classmethod
    def from_params(cls, params: Tensor, validate_args: bool | None = None) -> Self:
        """Split ``params`` ``[..., 2k]`` into width logits and mass logits.

        Raises:
            ValueError: if the last dimension is odd or empty.
        """
        size = params.shape[-1]
        if size == 0 or size % 2:
            raise ValueError(
                f"params must end in an even dimension of at least 2 (2k), got shape {tuple(params.shape)}."
            )
        new = cls(params[..., : size // 2], params[..., size // 2 :], validate_args=validate_args)
        new._params = params
        return new

    @lazy_property
    def _params(self) -> Tensor:
        return torch.cat((self.width_logits, self.mass_logits), dim=-1)  # [..., 2k]

    @lazy_property
    def _widths(self) -> Tensor:
        return to_compute_dtype(self.width_logits).softmax(dim=-1)  # [..., k]

    @lazy_property
    def _log_widths(self) -> Tensor:
        return to_compute_dtype(self.width_logits).log_softmax(dim=-1)  # [..., k]

    @lazy_property
    def _edges(self) -> Tensor:
        return cumulative(self._widths)  # [..., k + 1]

    def smoothed_log_prob(self, kernel: Distribution) -> Tensor:
        """Return the expected log-density under ``kernel``, in closed form (Equation 8).

        For a smoothing kernel of this package that needs no gradient, only the bins that overlap it are evaluated.

        Args:
            kernel: any distribution with a ``cdf``; its batch shape broadcasts against this one's.

        Returns:
            The broadcast batch shape, in the dtype of the parameters and at least float32.
        """
        if not isinstance(kernel, SmoothingKernel) or kernel.requires_grad or not kernel.lies_within(0.0, 1.0):
            return super().smoothed_log_prob(kernel)
        shape = torch.broadcast_shapes(self.batch_shape, kernel.batch_shape)
        new = self if shape == self.batch_shape else self.expand(shape)
        return smoothed_log_likelihood(new._params, kernel.expand(shape)).to(self._dtype)

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> Any:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        new = self._get_checked_instance(AdaCat, _instance)
        shape = (*batch_shape, self.bins)
        AdaCat.__init__(new, self.width_logits.expand(shape), self.mass_logits.expand(shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _with_mass_logits(self, mass_logits: Tensor) -> Self:
        new = type(self)(self.width_logits, mass_logits, validate_args=False)
        new._validate_args = self._validate_args
        return new
