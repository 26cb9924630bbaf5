"""A plain planner without caches: the oracle of exactness, and what the cached one is measured against."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning.decoding import WindowConfig


class NaiveDecoder:
    """Recomputes the whole sequence of every row for every token; see `planning.decoding.Decoder`.

    Args:
        model: in evaluation mode.
        context: the past of each environment in [0, 1], ``[G, n]``.
        window: what stays in sight.
    """

    def __init__(self, model: GPT, context: Tensor, window: WindowConfig) -> None:
        self._model, self._window = model, window
        self._tokens = context[:, None]  # [G, R, tokens in sight]
        self.n_token_rows = 0

    def next_distribution(self, dimension: int) -> Distribution:
        """The distribution of the next token of each row, from all tokens in sight."""
        spec, config = self._model.spec, self._model.config
        whole, rest = divmod(self._tokens.shape[2], spec.dimension)
        if rest == 0:
            n_dropped = whole - self._window.kept(whole, config.n_transitions)
            self._tokens = self._tokens[..., n_dropped * spec.dimension :]
        self.n_token_rows += self._tokens.numel()
        hidden = self._model.hidden(self._tokens.flatten(0, 1))[:, -1].unflatten(0, self._tokens.shape[:2])
        return self._model.head.distribution_of(hidden, dimension)

    def append(self, tokens: Tensor) -> None:
        """Appends one token to each row, ``[G, R]``."""
        self._tokens = torch.cat([self._tokens, tokens.unsqueeze(-1)], -1)

    def expand(self, n: int) -> None:
        """Makes n candidates of each row, side by side."""
        self._tokens = self._tokens.repeat_interleave(n, 1)

    def select(self, candidates: Tensor) -> None:
        """Keeps the candidates of the given indices, ``[G, S]``."""
        self._tokens = self._tokens.take_along_dim(candidates.unsqueeze(-1), 1)
