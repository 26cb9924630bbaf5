"""Base classes of output heads and their configs."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.embeddings import EmbeddingKind, ScalarEmbedding, TokenEmbedding, uniform_edges
from trajectory_adacat.settings import check_choices


class Head(nn.Module):
    """Map hidden states to a distribution for each next token, with one linear map per dimension.

    A subclass defines the distribution (`to_distribution`), and may replace the loss (`loss`).

    Args:
        n_dimensions: dimensions D of a transition.
        width: width E of the model.
        n_outputs: outputs O of each matrix.
    """

    has_bins: ClassVar[bool] = True  # whether the search's cutoffs by bin apply

    def __init__(self, n_dimensions: int, width: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_dimensions, width, n_outputs))

    def distribution(self, hidden: Tensor) -> Any:
        """Return the distributions of all positions, batch shape ``[B, T]``.

        Args:
            hidden: ``[B, T, E]``; position p predicts dimension (p + 1) mod D.
        """
        predicted = (torch.arange(hidden.shape[1], device=hidden.device) + 1) % len(self.weight)
        return self.to_distribution(self._all_outputs(hidden), predicted)

    def distribution_of(self, hidden: Tensor, dimension: int) -> Any:
        """Return the distributions of one dimension, batch shape ``[...]``, for ``hidden [..., E]``."""
        return self.to_distribution(hidden @ self.weight[dimension], dimension)

    @abstractmethod
    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> Any:
        """Return the distributions of ``outputs [..., T, O]`` for ``dimensions [T]``, or ``[..., O]`` for one."""

    def loss(self, distribution: Any, targets: Tensor) -> Tensor:
        """Return the training loss of each target, batch shape: the negative log-likelihood in nats."""
        return -distribution.log_prob(targets)

    def set_progress(self, progress: float) -> None:
        """Tell the head which share of the training's steps is done, in [0, 1], before each step; for schedules."""

    def _all_outputs(self, hidden: Tensor) -> Tensor:
        """Map ``hidden [B, T, E]`` to ``[B, T, O]``, each position by the matrix of the dimension it predicts."""
        n_dimensions, n_rows = len(self.weight), hidden.shape[1]
        n_transitions = -(-n_rows // n_dimensions)
        padded = nn.functional.pad(hidden, (0, 0, 0, n_transitions * n_dimensions - n_rows))
        by_dimension = padded.unflatten(1, (n_transitions, n_dimensions))  # [B, L, D, E]
        outputs = torch.einsum("blde,deo->bldo", by_dimension, self.weight.roll(-1, 0))
        return outputs.flatten(1, 2)[:, :n_rows]


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The settings of a head; a subclass makes the head and its embedding."""

    name: ClassVar[str]

    def make(self, n_dimensions: int, width: int) -> tuple[ScalarEmbedding | TokenEmbedding, Head]:
        """Make the embedding and the head for D dimensions and a model of width E."""
        raise NotImplementedError

    def fit(self, embedding: Any, head: Any, tokens: Tensor) -> None:
        """Set buffers of both from the training ``tokens [n, D]``; called before the first step. Does nothing here."""


@dataclass(frozen=True, kw_only=True)
class ScalarHeadConfig(HeadConfig):
    """The settings of a head whose tokens are embedded by a linear map of the scalar (paper section 4.4).

    ``one_hot`` has a vector for each of as many even bins as the head has outputs, as in Trajectory Transformer.
    """

    embedding: EmbeddingKind = "shared"  # a vector times the scalar: one shared, or one per_dimension; or one_hot
    standardize: bool = False  # standardize the scalar embedding's inputs (targets stay min-max normalized)

    def __post_init__(self) -> None:
        check_choices(self)

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect, each with the flag that is the reason."""
        return {"standardize": "--embedding one_hot"} if self.embedding == "one_hot" else {}

    def make_embedding(self, n_dimensions: int, width: int, n_outputs: int) -> ScalarEmbedding | TokenEmbedding:
        """Make the embedding for a model of width E and a head with that many outputs."""
        if self.embedding == "one_hot":
            return TokenEmbedding(uniform_edges(n_dimensions, n_outputs), width)
        return ScalarEmbedding(n_dimensions, width, self.embedding)

    def fit(self, embedding: Any, head: Any, tokens: Tensor) -> None:
        """If ``standardize``, set the embedding's statistics from ``tokens [n, D]``."""
        if self.standardize and self.embedding != "one_hot":
            embedding.set_statistics(tokens.mean(0), tokens.std(0))


def check_count(name: str, value: int) -> None:
    """Check a number of bins or components.

    Raises:
        InputError: if it is not positive.
    """
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}.")
