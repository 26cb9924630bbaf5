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
        device: where they are kept.
        dtype: in which precision.
        transposed_keys: keep a row's keys across tokens, ``[d, n]`` in memory: faster to read where there are many, slower
            to write one by one.
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
        transposed_keys: bool = False,
    ) -> None:
        self.n_rows = n_rows
        self._capacity = capacity
        # Layers stand outermost, so that a layer's rows and heads collapse into one batch of matrices.
        outer = (n_layers, n_environments, n_rows, n_heads)
        shape = (*outer, head_size, capacity) if transposed_keys else (*outer, capacity, head_size)
        self._keys = torch.empty(shape, device=device, dtype=dtype)
        self._values = torch.empty((*outer, capacity, head_size), device=device, dtype=dtype)
        if transposed_keys:
            self._keys = self._keys.transpose(-1, -2)
        self._first = self._end = 0

    @property
    def length(self) -> int:
        """How many tokens each row holds."""
        return self._end - self._first

    def keys(self, layer: int, length: int | None = None) -> Tensor:
        """The first ``length`` keys (all by default), a view ``[G, S, H, length, d]``."""
        return self._keys[layer, ..., self._held(length), :]

    def values(self, layer: int, length: int | None = None) -> Tensor:
        """The first ``length`` values (all by default), a view ``[G, S, H, length, d]``."""
        return self._values[layer, ..., self._held(length), :]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Stores ``[G, S, H, n, d]`` behind what is there; `advance` counts them once every layer has written."""
        room = self._room(keys.shape[-2])
        self._keys[layer, ..., room, :] = keys
        self._values[layer, ..., room, :] = values

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
        for used in self._all_held():
            used[:, environment, place] = used[:, environment, source]

    def append_rows(self, other: "KVCache", rows: Tensor) -> None:
        """Appends to row s of environment g all tokens of ``other``'s row ``rows[g, s]``."""
        room, environments = self._room(other.length), torch.arange(rows.shape[0], device=rows.device)[:, None]
        keys, values = other._all_held()
        self._keys[..., room, :] = keys[:, environments, rows]
        self._values[..., room, :] = values[:, environments, rows]
        self._end += other.length

    def _held(self, length: int | None = None) -> slice:
        return slice(self._first, self._end if length is None else self._first + length)

    def _all_held(self) -> tuple[Tensor, Tensor]:
        return self._keys[..., self._held(), :], self._values[..., self._held(), :]

    def _room(self, n_tokens: int) -> slice:
        """The places of the next tokens; where the end is reached, those still held move to the front first."""
        length = self.length
        if length + n_tokens > self._capacity:  # one token would else be broadcast to no room at all, and be lost
            raise ValueError(f"{length + n_tokens} tokens exceed the cache's capacity of {self._capacity}.")
        if self._end + n_tokens > self._capacity:
            keys, values = self._all_held()
            self._keys[..., :length, :], self._values[..., :length, :] = keys.clone(), values.clone()
            self._first, self._end = 0, length
        return slice(self._end, self._end + n_tokens)
