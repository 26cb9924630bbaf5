"""Autoregressive decoding of many rows at once: the interface that beam search needs, and a GPT with caches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.attention import is_attended
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.settings import check_choices

Window = Literal["cropped", "full"]


class Decoder(Protocol):
    """The interface that beam search needs: rows of tokens, ``[environments G, rows R]``, that grow token by token."""

    def next_distribution(self, dimension: int) -> Any:
        """Return the distribution of the next token, at the given dimension of a transition; batch shape ``[G, R]``."""

    def append(self, tokens: Tensor) -> None:
        """Append one token to each row, ``[G, R]``."""

    def last_tokens(self, n: int) -> Tensor:
        """Return the last ``n`` tokens of each row, real and imagined, ``[G, R, n]``."""

    def expand(self, n: int) -> None:
        """Replace each row by n candidates: candidate c is a copy of row ``c // n``."""

    def select(self, candidates: Tensor) -> None:
        """Replace the candidates by those of the given indices, ``[G, S]``, in this order."""


@dataclass(frozen=True)
class WindowConfig:
    """How much of the past the model sees when a new transition begins.

    "cropped" sees at most ``max_context_transitions - 1`` whole transitions, real and imagined together (Trajectory
    Transformer and the paper). "full" lets the imagined ones fill the trained block, and drops its oldest half when it
    is full.

    Raises:
        InputError: if ``max_context_transitions`` is not positive.
    """

    window: Window = "cropped"  # while imagining: crop to max_context_transitions, or fill the trained block
    max_context_transitions: int = 5  # bounds the past that the model sees, the current transition included

    def __post_init__(self) -> None:
        check_choices(self)
        if self.max_context_transitions < 1:
            raise InputError(f"max_context_transitions must be at least 1, got {self.max_context_transitions}.")

    def max_visible(self, n_transitions: int) -> int:
        """Return the maximum number of visible transitions, the imagined one included.

        Args:
            n_transitions: transitions in a training sequence of the model.
        """
        return self.max_context_transitions if self.window == "cropped" else n_transitions

    def num_visible(self, n_whole: int, n_transitions: int) -> int:
        """Return how many of ``n_whole`` whole transitions stay visible when the next one begins.

        Args:
            n_whole: whole transitions that were visible so far.
            n_transitions: transitions in a training sequence of the model.
        """
        if self.window == "cropped":
            return min(n_whole, self.max_context_transitions - 1)
        return n_whole if n_whole < n_transitions else n_whole - -(-n_transitions // 2)


class CachedDecoder:
    """Decodes a GPT with keys and values in three levels of caches that rows share.

    For one environment with 2 beams and 2 candidates per beam, while candidates grow::

        rows of a cache   1                  2 beams               4 candidates

        _context_cache    _beam_cache        _candidate_cache
        +--------------+  +---------------+  +------------------+
        |              |  | imagined by   |  | a r  candidate 0 |
        |  real past   |  | beam 0        |  | a r  candidate 1 |
        |  s a r  s a  |  +---------------+  +------------------+
        |  r ...  s    |  | imagined by   |  | a r  candidate 2 |
        |              |  | beam 1        |  | a r  candidate 3 |
        +--------------+  +---------------+  +------------------+
        older tokens ---------------------------> newer tokens

    A token attends to its row in each level. `expand` starts the candidates (actions a, reward r) with an empty
    candidate cache. `select` copies the chosen beams and appends their candidates' tokens to them; then the beams grow
    by their next observation (s). The context is decoded once per environment, and no cache holds value tokens,
    because nothing attends to them.

    When the window slides, learned positions change, so that all visible tokens are decoded again. With rotary
    positions the oldest keys are dropped and nothing is decoded again.

    Args:
        model: in evaluation mode.
        context: the past of each environment in [0, 1], ``[G, n]``: whole transitions, then an observation.
        window: how much of the past is visible.
    """

    def __init__(self, model: GPT, context: Tensor, window: WindowConfig) -> None:
        self._model, self._window, self._context = model, window, context
        self._imagined = context.new_empty(context.shape[0], 1, 0)  # [G, R, tokens after the context]
        self._start = 0  # the first visible token, as an index from the first token of the context
        # Keys and values stored per transition: those of all tokens that later tokens may attend to.
        self._n_stored = int(is_attended(torch.arange(model.spec.dimension), model.spec).sum())
        self._n_expand = 1
        self._is_pending = False  # whether the last token is not decoded yet
        n = context.shape[0]
        self._context_cache = model.new_cache(n, 1, context.shape[1], transposed_keys=True)
        self._beam_cache = model.new_cache(n, 0, 0)  # without rows until the first selection
        self._candidate_cache = model.new_cache(n, 0, 0)
        self._are_candidates = False  # whether the rows are candidates rather than beams
        self._hidden = model.decode(context[:, None], 0, [], self._context_cache)  # [G, R, E], at the last token

    def next_distribution(self, dimension: int) -> Any:
        """See `Decoder`."""
        self._decode_pending()
        return self._model.head.distribution_of(self._hidden, dimension)

    def append(self, tokens: Tensor) -> None:
        """See `Decoder`."""
        self._imagined = torch.cat([self._imagined, tokens.unsqueeze(-1)], -1)
        self._is_pending = True

    def last_tokens(self, n: int) -> Tensor:
        """See `Decoder`."""
        n_real = max(n - self._imagined.shape[-1], 0)
        real = self._context[:, None, self._context.shape[1] - n_real :].expand(-1, self._imagined.shape[1], -1)
        return torch.cat([real, self._imagined[..., max(self._imagined.shape[-1] - n, 0) :]], -1)

    def expand(self, n: int) -> None:
        """See `Decoder`."""
        if self._are_candidates:
            raise RuntimeError("call select() before the next expand()")
        self._decode_pending()  # once per beam, since its candidates share the token
        n_environments, n_rows, _ = self._imagined.shape
        self._n_expand = n
        self._imagined = self._imagined.repeat_interleave(n, 1)
        self._hidden = self._hidden.repeat_interleave(n, 1)
        if self._candidate_cache.n_rows != n_rows * n:
            spec = self._model.spec
            capacity = spec.dimension - spec.observation_size  # an action, a reward and a value
            self._candidate_cache = self._model.new_cache(n_environments, n_rows * n, capacity)
        self._candidate_cache.clear()  # reuse the memory, since allocating it is slow
        self._are_candidates = True

    def select(self, candidates: Tensor) -> None:
        """See `Decoder`. A beam that stays in its row is not copied."""
        if not self._are_candidates:
            raise RuntimeError("call expand() before select()")
        n_environments, n_rows = candidates.shape
        environments = torch.arange(n_environments, device=candidates.device)[:, None]
        self._imagined = self._imagined[environments, candidates]
        self._hidden = self._hidden[environments, candidates]
        parents = candidates // self._n_expand
        if self._beam_cache.n_rows == n_rows:
            self._beam_cache.move_rows(parents)
        else:
            self._beam_cache = self._copy_beams(parents)
        self._beam_cache.append_rows(self._candidate_cache, candidates)
        self._are_candidates = False

    def _copy_beams(self, parents: Tensor) -> KVCache:
        """Return a cache with another number of rows, with the tokens of ``parents [G, S]``."""
        capacity = self._window.max_visible(self._model.config.n_transitions) * self._n_stored
        n_environments, n_rows = parents.shape
        beams = self._model.new_cache(n_environments, n_rows, capacity, transposed_keys=True)
        if self._beam_cache.n_rows:
            beams.append_rows(self._beam_cache, parents)
        return beams

    def _decode_pending(self) -> None:
        if self._is_pending:
            self._hidden = self._decode_last()
            self._is_pending = False

    def _decode_last(self) -> Tensor:
        dimension = self._model.spec.dimension
        length = self._context.shape[1] + self._imagined.shape[2]  # from the first token of the context
        n_whole, rest = divmod(length - self._start, dimension)
        if rest == 0:
            n_dropped = n_whole - self._window.num_visible(n_whole, self._model.config.n_transitions)
            self._start += n_dropped * dimension
            if n_dropped and self._model.config.positions == "learned":
                return self._decode_visible()
            self._drop(n_dropped)
        row_cache = self._candidate_cache if self._are_candidates else self._beam_cache
        prefix_caches = [self._context_cache, self._beam_cache] if self._are_candidates else [self._context_cache]
        position = length - 1 - (self._start if self._model.config.positions == "learned" else 0)
        return self._model.decode(self._imagined[..., -1:], position, prefix_caches, row_cache)

    def _decode_visible(self) -> Tensor:
        """Decode all visible tokens at their new positions."""
        position = max(self._context.shape[1] - self._start, 0)  # of the first imagined token
        self._context_cache.clear()
        self._beam_cache.clear()
        if position:
            self._model.decode(self._context[:, None, -position:], 0, [], self._context_cache)
        # One call per transition: a single call for all tokens takes longer, since its tensors are larger.
        for tokens in self._visible_transitions(position):
            hidden = self._model.decode(tokens, position, [self._context_cache], self._beam_cache)
            position += tokens.shape[-1]
        return hidden

    def _visible_transitions(self, position: int) -> Sequence[Tensor]:
        """Split the visible imagined tokens ``[G, R, n]`` by transition; the first token is at ``position``."""
        dimension = self._model.spec.dimension
        visible = self._imagined[..., max(self._start - self._context.shape[1], 0) :]
        return visible.tensor_split(list(range(dimension - position % dimension, visible.shape[-1], dimension)), -1)

    def _drop(self, n_transitions: int) -> None:
        """Drop the oldest transitions. With rotary positions, the keys of the others stay valid."""
        n_keys = n_transitions * self._n_stored
        n_context = min(n_keys, self._context_cache.length)
        self._context_cache.drop(n_context)
        self._beam_cache.drop(n_keys - n_context)
