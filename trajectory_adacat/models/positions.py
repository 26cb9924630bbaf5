"""Position encodings: learned, or rotary over transitions with learned positions within a transition."""

from typing import Literal

import torch
from torch import Tensor, nn

PositionKind = Literal["learned", "rotary"]
Rotation = tuple[Tensor, Tensor]
ROTARY_BASE = 100.0  # small, since transitions are few: the slowest pair rotates about one radian in 100 of them


class LearnedPositions(nn.Module):
    """One learned vector per position of the trained block, as in the paper.

    Args:
        block_size: positions T.
        embedding_size: width E.
    """

    def __init__(self, block_size: int, embedding_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(block_size, embedding_size))

    def forward(self, positions: Tensor) -> Tensor:
        """Return the vectors to add to the embeddings at ``positions [T]``, ``[T, E]``."""
        return self.weight[positions]

    def rotation(self, positions: Tensor) -> Rotation | None:
        """Return None: queries and keys are not rotated."""
        return None


class RotaryPositions(nn.Module):
    """Rotation of queries and keys by the index of their transition (RoFormer), so that only distances matter.

    When the window slides, cached keys stay valid. Positions within a transition are learned.

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
        """Return the vectors to add to the embeddings at ``positions [T]``, ``[T, E]``."""
        return self.weight[positions % len(self.weight)]

    def rotation(self, positions: Tensor) -> Rotation:
        """Return the cosines and sines of the angles at ``positions [T]``, each ``[T, d / 2]``."""
        transitions = positions // len(self.weight)
        angles = transitions[:, None] * self.frequencies
        return angles.cos(), angles.sin()


def rotate(features: Tensor, rotation: Rotation | None) -> Tensor:
    """Rotate ``features [..., T, d]``: feature i and feature ``i + d / 2`` form a pair. None leaves them unchanged."""
    if rotation is None:
        return features
    cosines, sines = (part.to(features.dtype) for part in rotation)
    first, second = features.chunk(2, -1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], -1)
