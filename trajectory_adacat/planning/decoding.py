"""Autoregressive decoding of many rows at once: what beam search asks of a model, and the cached GPT behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.attention import is_attended
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.planning.ancestry import Ancestry
from trajectory_adacat.settings import check_choices

Window = Literal["cropped", "full"]


class Decoder(Protocol):
    """What beam search needs: rows of tokens, ``[environments G, rows R]``, that grow one token at a time."""

    def next_distribution(self, dimension: int) -> Any:
        """The distribution of the next token, of the given dimension of a transition; batch shape ``[G, R]``."""

    def append(self, tokens: Tensor) -> None:
        """Appends one token to each row, ``[G, R]``."""

    def expand(self, n: int) -> None:
        """Makes n candidates of each row, side by side: candidate c comes from row ``c // n``."""

    def select(self, candidates: Tensor) -> None:
        """Keeps the candidates of the given indices, ``[G, S]``, as the rows, in this order."""


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

    def most(self, n_transitions: int) -> int:
        """The most transitions in sight, the one that is imagined included, of a model trained on ``n_transitions``."""
        return self.max_context_transitions if self.window == "cropped" else n_transitions

    def kept(self, n_whole: int, n_transitions: int) -> int:
        """How many of ``n_whole`` whole transitions stay in sight when the next one begins.

        ``n_transitions`` is what the model was trained on.
        """
        if self.window == "cropped":
            return min(n_whole, self.max_context_transitions - 1)
        return n_whole if n_whole < n_transitions else n_whole - -(-n_transitions // 2)


class CachedDecoder:
    """Decodes a GPT with keys and values in caches that rows share.

    The context is computed once for each environment, the tokens of a beam once for all of its candidates.
    When the window slides, learned positions move, so that what stays in sight is computed again; with rotary ones
    the oldest keys are dropped and nothing is computed. What beams inherited from the same ancestor is computed
    again once for all of them.

    Args:
        model: in evaluation mode.
        context: the past of each environment in [0, 1], ``[G, n]``: whole transitions and then an observation.
        window: what stays in sight.
    """

    def __init__(self, model: GPT, context: Tensor, window: WindowConfig) -> None:
        self._model, self._window, self._context = model, window, context
        self._imagined = context.new_empty(context.shape[0], 1, 0)  # [G, R, tokens after the context]
        self._ancestry = Ancestry() if model.config.positions == "learned" else None  # for when the window slides
        self._start = 0  # the first token in sight, counted from the context's first
        # Keys and values that are stored of each transition: of all tokens but those that nothing attends to.
        self._n_stored = int(is_attended(torch.arange(model.spec.dimension), model.spec).sum())
        self._n_expand = 1
        self._pending = False  # whether the model has yet to see the last token
        n = context.shape[0]
        self._shared = model.new_cache(n, 1, context.shape[1], transposed_keys=True)  # the real past
        self._beams = model.new_cache(n, 0, 0)  # what each beam imagined; empty until the first selection
        self._candidates = model.new_cache(n, 0, 0)  # what each candidate adds to its beam
        self._are_candidates = False  # whether the rows are candidates, and not beams
        self._hidden = model.decode(context[:, None], 0, [], self._shared)  # [G, R, E], at the last token

    def next_distribution(self, dimension: int) -> Any:
        """See `Decoder`."""
        if self._pending:
            self._hidden = self._decode_last()
            self._pending = False
        return self._model.head.distribution_of(self._hidden, dimension)

    def append(self, tokens: Tensor) -> None:
        """See `Decoder`."""
        self._imagined = torch.cat([self._imagined, tokens.unsqueeze(-1)], -1)
        self._pending = True

    def expand(self, n: int) -> None:
        """See `Decoder`."""
        if self._are_candidates:
            raise RuntimeError("select follows expand")
        if self._pending:  # while the rows are still beams: their last token is the same for all candidates
            self._hidden, self._pending = self._decode_last(), False
        n_environments, n_rows, _ = self._imagined.shape
        self._n_expand = n
        self._imagined = self._imagined.repeat_interleave(n, 1)
        self._hidden = self._hidden.repeat_interleave(n, 1)
        if self._candidates.n_rows != n_rows * n:
            spec = self._model.spec  # a candidate is an action, a reward and a value
            self._candidates = self._model.new_cache(n_environments, n_rows * n, spec.dimension - spec.observation_size)
        self._candidates.clear()  # and use its memory again, which would be slow to get from the system
        self._are_candidates = True

    def select(self, candidates: Tensor) -> None:
        """See `Decoder`. A row whose parent had its place is not copied."""
        if not self._are_candidates:
            raise RuntimeError("select follows expand")
        n_environments, n_rows = candidates.shape
        environments = torch.arange(n_environments, device=candidates.device)[:, None]
        self._imagined = self._imagined[environments, candidates]
        self._hidden = self._hidden[environments, candidates]
        parents = candidates // self._n_expand
        if self._ancestry is not None:
            self._ancestry.select(parents)
        if self._beams.n_rows == n_rows:
            self._beams.move_rows(parents)
        else:
            self._beams = self._other_beams(n_rows, parents)
        self._beams.append_rows(self._candidates, candidates)
        self._are_candidates = False

    def _other_beams(self, n_rows: int, parents: Tensor) -> KVCache:
        """A cache for another number of beams, with what their parents hold."""
        capacity = self._window.most(self._model.config.n_transitions) * self._n_stored
        beams = self._model.new_cache(parents.shape[0], n_rows, capacity, transposed_keys=True)
        if self._beams.n_rows:
            beams.append_rows(self._beams, parents)
        return beams

    def _decode_last(self) -> Tensor:
        dimension = self._model.spec.dimension
        length = self._context.shape[1] + self._imagined.shape[2]  # from the context's first token
        whole, rest = divmod(length - self._start, dimension)
        if rest == 0:
            n_dropped = whole - self._window.kept(whole, self._model.config.n_transitions)
            self._start += n_dropped * dimension
            if n_dropped and self._ancestry is not None:
                return self._decode_all(self._ancestry)
            self._drop(n_dropped)
        own = self._candidates if self._are_candidates else self._beams
        shared = [self._shared, self._beams] if self._are_candidates else [self._shared]
        position = length - 1 - (self._start if self._model.config.positions == "learned" else 0)
        return self._model.decode(self._imagined[..., -1:], position, shared, own)

    def _decode_all(self, ancestry: Ancestry) -> Tensor:
        """Computes all that is in sight, at its new positions."""
        n_shared = max(self._context.shape[1] - self._start, 0)
        self._shared.clear()
        self._beams.clear()
        if n_shared:
            self._model.decode(self._context[:, None, -n_shared:], 0, [], self._shared)
        imagined = self._imagined[..., max(self._start - self._context.shape[1], 0) :]
        transitions = self._by_transition(imagined, n_shared)
        environments = torch.arange(imagined.shape[0], device=imagined.device)[:, None]
        position, above = n_shared, self._beams
        for depth, (tokens, generation) in enumerate(
            zip(transitions, ancestry.generations(len(transitions)), strict=True)
        ):
            is_last = depth + 1 == len(transitions)
            n_held = position + tokens.shape[-1] - n_shared
            rows = self._beams if is_last else self._model.new_cache(len(tokens), generation.rows.shape[1], n_held)
            if depth > 0:
                rows.append_rows(above, generation.parents)
            hidden = self._model.decode(tokens[environments, generation.rows], position, [self._shared], rows)
            position, above = position + tokens.shape[-1], rows
        return hidden

    def _by_transition(self, imagined: Tensor, n_shared: int) -> Sequence[Tensor]:
        """Splits imagined tokens ``[G, R, n]``; of the first transition a part is not imagined but shared."""
        dimension = self._model.spec.dimension
        first = dimension - n_shared % dimension
        return imagined.tensor_split(list(range(first, imagined.shape[-1], dimension)), -1)

    def _drop(self, n_transitions: int) -> None:
        """Forgets the oldest transitions: of rotary positions, the others' keys stay valid."""
        n_keys = n_transitions * self._n_stored
        n_shared = min(n_keys, self._shared.length)
        self._shared.drop(n_shared)
        self._beams.drop(n_keys - n_shared)
