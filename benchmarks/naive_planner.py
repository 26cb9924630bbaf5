"""A decoder without caches: the reference for exactness and speed of the cached decoder."""

import torch
from torch import Tensor

from trajectory_adacat.distributions import PiecewiseConstant
from trajectory_adacat.models.attention import attention_mask
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning.decoding import WindowConfig


class NaiveDecoder:
    """Recomputes the whole sequence of every row for every token; see `planning.decoding.Decoder`.

    Args:
        model: in evaluation mode.
        context: the past of each environment in [0, 1], ``[G, n]``.
        window: how much of the past is visible.
    """

    def __init__(self, model: GPT, context: Tensor, window: WindowConfig) -> None:
        self._model, self._window = model, window
        self._tokens = context[:, None]  # [G, R, tokens]
        self._slides = model.config.positions == "learned"  # otherwise all tokens stay and a mask hides them
        n_started = -(-context.shape[1] // model.spec.dimension)
        self._first_visible = [0] * n_started  # for each transition, the first one visible to it

    def next_distribution(self, dimension: int) -> PiecewiseConstant:
        """Return the distribution of the next token of each row, computed from all visible tokens."""
        spec, config = self._model.spec, self._model.config
        n_whole, rest = divmod(self._tokens.shape[2], spec.dimension)
        if rest == 0:
            whole = n_whole - self._first_visible[-1]
            n_dropped = whole - self._window.num_visible(whole, config.n_transitions)
            if self._slides:
                self._tokens = self._tokens[..., n_dropped * spec.dimension :]
                self._first_visible.append(0)
            else:
                self._first_visible.append(self._first_visible[-1] + n_dropped)
        mask = None if self._slides else self._mask()
        hidden = self._model.hidden(self._tokens.flatten(0, 1), mask)[:, -1].unflatten(0, self._tokens.shape[:2])
        return self._model.head.distribution_of(hidden, dimension)

    def _mask(self) -> Tensor:
        positions = torch.arange(self._tokens.shape[2])
        dimension = self._model.spec.dimension
        # The last token of a transition predicts the first one of the next, and sees what that transition sees.
        predicted = (positions + 1) // dimension
        first_visible = torch.tensor(self._first_visible)[predicted]
        is_visible = positions[None, :] // dimension >= first_visible[:, None]
        return (attention_mask(positions, self._model.spec) & is_visible).to(self._model.device)

    def append(self, tokens: Tensor) -> None:
        """Append one token to each row, ``[G, R]``."""
        self._tokens = torch.cat([self._tokens, tokens.unsqueeze(-1)], -1)

    def last_tokens(self, n: int) -> Tensor:
        """Return the last ``n`` tokens of each row, ``[G, R, n]``."""
        return self._tokens[..., -n:]

    def expand(self, n: int) -> None:
        """Replace each row by n copies, side by side."""
        self._tokens = self._tokens.repeat_interleave(n, 1)

    def select(self, candidates: Tensor) -> None:
        """Replace the candidates by those of the given indices, ``[G, S]``."""
        self._tokens = self._tokens.take_along_dim(candidates.unsqueeze(-1), 1)
