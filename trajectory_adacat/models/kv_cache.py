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
        self.length = 0
        self.n_rows = n_rows
        # Layers stand outermost, so that a layer's rows and heads collapse into one batch of matrices.
        shape = (n_layers, 2, n_environments, n_rows, n_heads, capacity, head_size)
        self._store = torch.empty(shape, device=device, dtype=dtype)

    def keys(self, layer: int, length: int | None = None) -> Tensor:
        """The first ``length`` keys (all by default), a view ``[G, S, H, length, d]``."""
        return self._store[layer, 0, ..., : self.length if length is None else length, :]

    def values(self, layer: int, length: int | None = None) -> Tensor:
        """The first ``length`` values (all by default), a view ``[G, S, H, length, d]``."""
        return self._store[layer, 1, ..., : self.length if length is None else length, :]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Stores ``[G, S, H, n, d]`` behind what is there; `advance` counts them once every layer has written."""
        end = self.length + keys.shape[-2]
        self._store[layer, 0, ..., self.length : end, :] = keys
        self._store[layer, 1, ..., self.length : end, :] = values

    def advance(self, n_tokens: int) -> None:
        """Counts ``n_tokens`` that every layer has written."""
        self.length += n_tokens

    def clear(self) -> None:
        """Forgets all tokens; the memory stays."""
        self.length = 0

    def move_rows(self, sources: Tensor) -> None:
        """Makes row s of environment g a copy of row ``sources[g, s]``; rows that stay are not copied."""
        places = torch.arange(self.n_rows, device=sources.device).expand_as(sources)
        environment, place = (sources != places).nonzero(as_tuple=True)
        source = sources[environment, place]
        used = self._store[..., : self.length, :]  # [layers, 2, G, S, H, length, d]
        used[:, :, environment, place] = used[:, :, environment, source]

    def append_rows(self, other: "KVCache", rows: Tensor) -> None:
        """Appends to row s of environment g all tokens of ``other``'s row ``rows[g, s]``."""
        environments = torch.arange(rows.shape[0], device=rows.device)[:, None]
        end = self.length + other.length
        self._store[..., self.length : end, :] = other._store[..., : other.length, :][:, :, environments, rows]
        self.length = end
