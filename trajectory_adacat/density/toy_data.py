"""The target densities of the paper's Figures 1 to 3, on the unit interval and the unit square."""

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

# Half the side of the square that is scaled to the unit square. The arms extend to about 3.4.
SPIRAL_BOUND = 4.0
SPIRAL_TURNS = 1.5
SPIRAL_NOISE = 0.1


def two_spirals(count: int, generator: torch.Generator) -> Tensor:
    """Draw points ``[count, 2]`` in the unit square from two interleaved spirals.

    The paper does not publish its data. These are the two spirals common in the literature on normalizing flows (as in
    FFJORD): arms of one and a half turns that grow to a radius of 3 pi / 3, with uniform noise of 0.5 / 3 and normal
    noise of standard deviation 0.1. The square [-4, 4]^2 is scaled to the unit square.

    Args:
        count: number of points; if odd, one arm has one point more.
        generator: random number generator.
    """
    angle = torch.rand(count, generator=generator).sqrt() * SPIRAL_TURNS * 2 * math.pi
    jitter = torch.rand(count, 2, generator=generator) / 2
    arm = torch.stack((-angle.cos(), angle.sin()), dim=-1) * angle.unsqueeze(-1) + jitter
    sign = 1 - 2 * (torch.arange(count) % 2).unsqueeze(-1)  # one arm is the other reflected in the origin
    points = sign * arm / 3 + SPIRAL_NOISE * torch.randn(count, 2, generator=generator)
    return (points / SPIRAL_BOUND + 1) / 2


def two_gaussians() -> MixtureSameFamily:
    """Return a mixture of two normal distributions of different scales; less than 1e-6 of it lies outside [0, 1]."""
    components = Normal(torch.tensor([0.3, 0.65]), torch.tensor([0.02, 0.07]))
    return MixtureSameFamily(Categorical(torch.tensor([0.5, 0.5])), components)
