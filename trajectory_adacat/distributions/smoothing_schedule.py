"""Coarse-to-fine smoothing: how wide AdaCat's smoothing kernel is in the course of a training."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from trajectory_adacat.distributions.adacat import AdaCat
from trajectory_adacat.distributions.smoothing import SmoothingKernel, TruncatedNormal, TruncatedUniform


@dataclass(frozen=True)
class SmoothingSchedule:
    """Smooth the targets widely at first, then ever less (not in the paper, whose kernel is constant).

    A target whose kernel lies inside a bin can only shrink that bin. Only a kernel that crosses an edge compares the
    densities on both sides of it and moves the edge to where they change. With a kernel of 0.001 and bins of width
    0.02, few targets do so, and the widths learn slowly. So the kernel's width falls geometrically from ``start`` to
    ``coeff``, and it may be kept as wide as the bin that holds the target (``bins``), so that it crosses an edge,
    except at the ends of [0, 1].

    Attributes:
        coeff: the final width, or the least one with ``bins``: full width of the uniform kernel or scale of the normal
            one (the paper's lambda); 0: no smoothing.
        start: the first width, in [``coeff``, infinity); None: no annealing.
        fraction: share of the training in which the width falls, in (0, 1].
        bins: least width of the kernel, in widths of the bin that holds the target.
        type: uniform or normal kernel.

    Raises:
        ValueError: for a value out of range; the message begins with the attribute.

    Example::

        >>> schedule = SmoothingSchedule(coeff=0.001, start=0.1, fraction=0.5)
        >>> schedule.width(0.25)
        0.01
    """

    coeff: float = 0.001
    start: float | None = None
    fraction: float = 0.6
    bins: float = 0.0
    type: Literal["uniform", "normal"] = "uniform"

    def __post_init__(self) -> None:
        for name in ("coeff", "bins"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}.")
        if self.start is not None and not self.coeff <= self.start < math.inf:
            raise ValueError(f"start must be finite and at least the final width {self.coeff}, got {self.start}.")
        if self.coeff == 0.0 and (self.start is not None or self.bins > 0.0):
            raise ValueError("coeff must be above 0 with a start or with bins: without smoothing, none and 0.")
        if not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"fraction must lie in (0, 1], got {self.fraction}.")

    def width(self, progress: float) -> float:
        """Return the width of the kernel, apart from ``bins``, when a share ``progress`` of the training is done."""
        if self.start is None or progress >= self.fraction:
            return self.coeff
        share = progress / self.fraction
        return self.start ** (1.0 - share) * self.coeff**share

    def kernel(self, density: AdaCat, targets: Tensor, progress: float) -> SmoothingKernel | None:
        """Return the kernel for ``density.smoothed_log_prob``; None without smoothing.

        Args:
            density: batch shape that broadcasts with the targets'. It gets no gradient through the kernel.
            targets: in [0, 1], any shape.
            progress: share of the training that is done, in [0, 1].
        """
        width: float | Tensor = self.width(progress)
        if width == 0.0:
            return None
        if self.bins:
            width = (self.bins * density.width_at(targets).detach()).clamp(min=width)
        kernel = TruncatedUniform if self.type == "uniform" else TruncatedNormal
        return kernel(targets, width, validate_args=False)
