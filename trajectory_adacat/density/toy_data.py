"""The targets of the paper's Figures 1 to 3, in the unit interval and the unit square."""

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

# The two arms of the spirals reach to 3.4 on either side before they are scaled.
SPIRAL_BOUND = 4.0
SPIRAL_TURNS = 1.5
SPIRAL_NOISE = 0.1


def two_spirals(count: int, generator: torch.Generator) -> Tensor:
    """Points ``[count, 2]`` in the unit square from two interleaved spirals.

    The paper does not publish its data. These are the two spirals that are customary in the literature on normalizing
    flows (as in FFJORD): arms of one and a half turns that grow to a radius of 3 pi / 3, widened by uniform noise of
    0.5 / 3 along the arm and normal noise of standard deviation 0.1; the square [-4, 4]^2 becomes the unit square.

    Args:
        count: an odd one leaves one arm a point short.
        generator: of the random numbers.
    """
    angle = torch.rand(count, generator=generator).sqrt() * SPIRAL_TURNS * 2 * math.pi
    jitter = torch.rand(count, 2, generator=generator) / 2
    arm = torch.stack((-angle.cos(), angle.sin()), dim=-1) * angle.unsqueeze(-1) + jitter
    sign = 1 - 2 * (torch.arange(count) % 2).unsqueeze(-1)  # the arms are each other's reflection in the origin
    points = sign * arm / 3 + SPIRAL_NOISE * torch.randn(count, 2, generator=generator)
    return (points / SPIRAL_BOUND + 1) / 2


def two_gaussians() -> MixtureSameFamily:
    """A mixture of two normal distributions of different scales; less than 1e-6 of it lies outside [0, 1]."""
    components = Normal(torch.tensor([0.3, 0.65]), torch.tensor([0.02, 0.07]))
    return MixtureSameFamily(Categorical(torch.tensor([0.5, 0.5])), components)
