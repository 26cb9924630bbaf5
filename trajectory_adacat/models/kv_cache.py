"""Preallocated cache of attention keys and values."""

import torch
from torch import Tensor


class KVCache:
    """Keys and values of all layers for rows of equal length, ``[environments G, rows S]``.

    Args:
        n_layers: layers of the model.
        n_environments: environments G.
        n_rows: rows S per environment.
        n_heads: attention heads H.
        capacity: maximum tokens per row.
        head_size: width d of a head.
        device: device of the cache.
        dtype: precision of the cache.
        transposed_keys: store the keys of a row as ``[d, n]`` in memory. This is faster to read for many tokens, and
            slower to write one by one.
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
        # Layers are the outermost dimension, so that the rows and heads of a layer form one batch of matrices.
        outer = (n_layers, n_environments, n_rows, n_heads)
        shape = (*outer, head_size, capacity) if transposed_keys else (*outer, capacity, head_size)
        self._keys = torch.empty(shape, device=device, dtype=dtype)
        self._values = torch.empty((*outer, capacity, head_size), device=device, dtype=dtype)
        if transposed_keys:
            self._keys = self._keys.transpose(-1, -2)
        self._first = self._end = 0

    @property
    def length(self) -> int:
        """Tokens per row."""
        return self._end - self._first

    def keys(self, layer: int, length: int | None = None) -> Tensor:
        """Return the first ``length`` keys (all by default), a view ``[G, S, H, length, d]``."""
        return self._keys[layer].narrow(-2, self._first, self.length if length is None else length)

    def values(self, layer: int, length: int | None = None) -> Tensor:
        """Return the first ``length`` values (all by default), a view ``[G, S, H, length, d]``."""
        return self._values[layer].narrow(-2, self._first, self.length if length is None else length)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store ``[G, S, H, n, d]`` after the existing tokens. `length` grows only when `advance` is called.

        Raises:
            ValueError: if the capacity is exceeded.
        """
        slots = self._next_slots(keys.shape[-2])
        for cached, new in ((self._keys, keys), (self._values, values)):
            cached[layer].narrow(-2, slots.start, new.shape[-2]).copy_(new)

    def advance(self, n_tokens: int) -> None:
        """Add ``n_tokens`` to the length. Call it once all layers have written them."""
        self._end += n_tokens

    def clear(self) -> None:
        """Remove all tokens and keep the memory."""
        self._first = self._end = 0

    def drop(self, n_tokens: int) -> None:
        """Remove the oldest tokens without moving the others."""
        self._first += n_tokens

    def move_rows(self, sources: Tensor) -> None:
        """Replace row s of environment g by a copy of row ``sources[g, s]``, unless they are the same row."""
        rows = torch.arange(self.n_rows, device=sources.device).expand_as(sources)
        environment, row = (sources != rows).nonzero(as_tuple=True)
        source = sources[environment, row]
        for tensor in self._all_held():
            tensor[:, environment, row] = tensor[:, environment, source]

    def append_rows(self, other: "KVCache", rows: Tensor) -> None:
        """Append all tokens of row ``rows[g, s]`` of ``other`` to row s of environment g.

        Raises:
            ValueError: if the capacity is exceeded.
        """
        slots, environments = self._next_slots(other.length), torch.arange(rows.shape[0], device=rows.device)[:, None]
        keys, values = other._all_held()
        self._keys[..., slots, :] = keys[:, environments, rows]
        self._values[..., slots, :] = values[:, environments, rows]
        self._end += other.length

    def _all_held(self) -> tuple[Tensor, Tensor]:
        held = slice(self._first, self._end)
        return self._keys[..., held, :], self._values[..., held, :]

    def _next_slots(self, n_tokens: int) -> slice:
        """Return the slots of the next tokens. At the end of the memory, first move the tokens held to its front."""
        length = self.length
        if length + n_tokens > self._capacity:  # otherwise a single token would broadcast to an empty slice and be lost
            raise ValueError(f"{length + n_tokens} tokens exceed the cache's capacity of {self._capacity}.")
        if self._end + n_tokens > self._capacity:
            keys, values = self._all_held()
            self._keys[..., :length, :], self._values[..., :length, :] = keys.clone(), values.clone()
            self._first, self._end = 0, length
        return slice(self._end, self._end + n_tokens)
