"""Where a token stands: learned positions, or rotary ones over transitions with learned ones within a transition."""

from typing import Literal

import torch
from torch import Tensor, nn

PositionKind = Literal["learned", "rotary"]
Rotation = tuple[Tensor, Tensor]
ROTARY_BASE = 100.0  # transitions are few: the slowest pair of features turns by about one radian in 100 of them


class LearnedPositions(nn.Module):
    """One vector for each position of the trained block, as in the paper.

    Args:
        block_size: positions T.
        embedding_size: width E.
    """

    def __init__(self, block_size: int, embedding_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(block_size, embedding_size))

    def forward(self, positions: Tensor) -> Tensor:
        """What is added to the embeddings at ``positions [T]``, ``[T, E]``."""
        return self.weight[positions]

    def rotation(self, positions: Tensor) -> Rotation | None:
        """None: queries and keys stay as they are."""
        return None


class RotaryPositions(nn.Module):
    """Queries and keys are turned by their transition's index (RoFormer), so that only distances count.

    When the window slides, what stays in sight stays valid. Within a transition positions are learned.

    Args:
        n_dimensions: dimensions D of a transition.
        embedding_size: width E.
        head_size: width d of a head, even.
    """

    frequencies: Tensor

    def __init__(self, n_dimensions: int, embedding_size: int, head_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_dimensions, embedding_size))
        exponents = torch.arange(0, head_size, 2) / head_size
        self.register_buffer("frequencies", ROTARY_BASE**-exponents, persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """What is added to the embeddings at ``positions [T]``, ``[T, E]``."""
        return self.weight[positions % len(self.weight)]

    def rotation(self, positions: Tensor) -> Rotation:
        """Cosines and sines of the angles at ``positions [T]``, each ``[T, d / 2]``."""
        transitions = positions // len(self.weight)
        angles = transitions[:, None] * self.frequencies
        return angles.cos(), angles.sin()


def rotate(features: Tensor, rotation: Rotation | None) -> Tensor:
    """Turns pairs of ``features [..., T, d]``: the first half of the last dimension with the second."""
    if rotation is None:
        return features
    cosines, sines = (part.to(features.dtype) for part in rotation)
    first, second = features.chunk(2, -1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], -1)
