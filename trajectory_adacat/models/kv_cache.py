"""Preallocated keys and values of a decoder's rows."""

import torch
from torch import Tensor


class KVCache:
    """Keys and values of all layers for rows of equal length, ``[environments G, rows S]``.

    Args:
        n_layers: layers of the model.
        n_environments: G.
        n_rows: rows S of an environment.
        n_heads: attention heads H.
        capacity: most tokens a row can hold.
        head_size: width d of a head.
    """

    def __init__(
        self,
        n_layers: int,
        n_environments: int,
        n_rows: int,
        n_heads: int,
        capacity: int,
        head_size: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.n_rows = n_rows
        # Layers stand outermost, so that a layer's rows and heads collapse into one batch of matrices.
        shape = (n_layers, 2, n_environments, n_rows, n_heads, capacity, head_size)
        self._store = torch.empty(shape, device=device, dtype=dtype)
        self._first = self._end = 0

    @property
    def length(self) -> int:
        """How many tokens each row holds."""
        return self._end - self._first

    def keys(self, layer: int, length: int | None = None) -> Tensor:
        """The first ``length`` keys (all by default), a view ``[G, S, H, length, d]``."""
        return self._tokens(length)[layer, 0]

    def values(self, layer: int, length: int | None = None) -> Tensor:
        """The first ``length`` values (all by default), a view ``[G, S, H, length, d]``."""
        return self._tokens(length)[layer, 1]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Stores ``[G, S, H, n, d]`` behind what is there; `advance` counts them once every layer has written."""
        place = self._room(keys.shape[-2])
        place[layer, 0] = keys
        place[layer, 1] = values

    def advance(self, n_tokens: int) -> None:
        """Counts ``n_tokens`` that every layer has written."""
        self._end += n_tokens

    def clear(self) -> None:
        """Forgets all tokens; the memory stays."""
        self._first = self._end = 0

    def drop(self, n_tokens: int) -> None:
        """Forgets the oldest tokens, without moving the others."""
        self._first += n_tokens

    def move_rows(self, sources: Tensor) -> None:
        """Makes row s of environment g a copy of row ``sources[g, s]``; rows that stay are not copied."""
        places = torch.arange(self.n_rows, device=sources.device).expand_as(sources)
        environment, place = (sources != places).nonzero(as_tuple=True)
        source = sources[environment, place]
        used = self._tokens()
        used[:, :, environment, place] = used[:, :, environment, source]

    def append_rows(self, other: "KVCache", rows: Tensor) -> None:
        """Appends to row s of environment g all tokens of ``other``'s row ``rows[g, s]``."""
        environments = torch.arange(rows.shape[0], device=rows.device)[:, None]
        self._room(other.length)[:] = other._tokens()[:, :, environments, rows]
        self._end += other.length

    def _tokens(self, length: int | None = None) -> Tensor:
        end = self._end if length is None else self._first + length
        return self._store[..., self._first : end, :]  # [layers, 2, G, S, H, length, d]

    def _room(self, n_tokens: int) -> Tensor:
        """The places of the next tokens; where the end is reached, those still held move to the front first."""
        length, capacity = self.length, self._store.shape[-2]
        if length + n_tokens > capacity:  # one token would else be broadcast to no room at all, and be lost
            raise ValueError(f"{length + n_tokens} tokens exceed the cache's capacity of {capacity}.")
        if self._end + n_tokens > capacity:
            self._store[..., :length, :] = self._tokens().clone()
            self._first, self._end = 0, length
        return self._store[..., self._end : self._end + n_tokens, :]
