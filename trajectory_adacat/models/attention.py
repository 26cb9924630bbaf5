"""Attention: the mask, self-attention within sequences, and attention of new tokens to caches that rows share."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.models.positions import Rotation, rotate
from trajectory_adacat.transition import Layout

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys, values [*, H, d] -> concatenated heads [*, E]


@overload
def is_attended(positions: Tensor, spec: Layout) -> Tensor: ...


@overload
def is_attended(positions: int, spec: Layout) -> bool: ...


def is_attended(positions: Tensor | int, spec: Layout) -> Tensor | bool:
    """Return whether later queries may attend to the tokens at ``positions``: True for all but value tokens."""
    return positions % spec.dimension != spec.value


def attention_mask(positions: Tensor, spec: Layout) -> Tensor:
    """Return which keys (columns) each query (row) at ``positions [T]`` may attend to, bool ``[T, T]``.

    A query attends to its own and earlier positions, except to value tokens. Training, prefill and cached decoding
    use this one rule, so that they cannot disagree.
    """
    return (positions[:, None] >= positions[None, :]) & is_attended(positions, spec)[None, :]


def self_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, rotation: Rotation | None, dropout: float
) -> Tensor:
    """Attend within each sequence.

    Args:
        queries, keys, values: ``[B, T, H, d]``.
        mask: bool ``[T, T]``, which keys each query may attend to.
        rotation: of rotary positions.
        dropout: probability of dropping an attention weight.

    Returns:
        The concatenated heads, ``[B, T, E]``.
    """
    queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))  # [B, H, T, d]
    queries, keys = rotate(queries, rotation), rotate(keys, rotation)
    precision: AbstractContextManager = nullcontext()
    if queries.dtype == torch.bfloat16 and queries.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # On a CPU, the backward pass of the fused kernel is slower in bfloat16 than in float32.
        precision = torch.autocast("cpu", enabled=False)
        queries, keys, values = queries.float(), keys.float(), values.float()
    with precision:
        outputs = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
    return outputs.transpose(1, 2).flatten(2)


def attend_to_caches(queries: Tensor, caches: Sequence[tuple[Tensor, Tensor]], last_mask: Tensor | None) -> Tensor:
    """Attend to the keys of several caches with one softmax, and read each cache once for all rows that share it.

    Args:
        queries: ``[G, R, H, L, d]``.
        caches: keys and values, each ``[G, S, H, n, d]``; rows r with equal ``r // (R / S)`` share an entry.
        last_mask: bool ``[L, m]``, which of the last m keys of the last cache each query may attend to; None for all.

    Returns:
        ``[G, R, H, L, d]``.
    """
    length, size = queries.shape[-2:]

    def group(rows: Tensor, n_groups: int) -> Tensor:  # [G, R, H, L, x] -> [G, S, H, R / S * L, x]
        if n_groups == rows.shape[1]:
            return rows
        if n_groups == length == 1:
            return rows.transpose(1, 3)
        return rows.unflatten(1, (n_groups, -1)).transpose(2, 3).flatten(3, 4)

    def ungroup(rows: Tensor) -> Tensor:
        if rows.shape[3] == length:
            return rows
        if rows.shape[1] == length == 1:
            return rows.transpose(1, 3)
        return rows.unflatten(3, (-1, length)).transpose(2, 3).flatten(1, 2)

    scaled = queries * size**-0.5
    grouped = [group(scaled, keys.shape[1]) @ keys.transpose(-1, -2) for keys, _ in caches]
    scores = torch.cat([ungroup(score) for score in grouped], -1)  # [G, R, H, L, all keys]
    if last_mask is not None:
        scores[..., scores.shape[-1] - last_mask.shape[1] :].masked_fill_(~last_mask, -torch.inf)
    weights = scores.softmax(-1).split([keys.shape[-2] for keys, _ in caches], -1)
    parts = [ungroup(group(w, values.shape[1]) @ values) for w, (_, values) in zip(weights, caches, strict=True)]
    return sum(parts[1:], start=parts[0])


@dataclass(frozen=True)
class CachedAttention:
    """Attention of new tokens, ``[G, R, L]``, to cached tokens and to each other.

    Attributes:
        shape: G, R and L.
        prefix_caches: caches of the tokens before those in ``row_cache``, each shared by groups of rows.
        row_cache: the cache that stores the keys and values of the new tokens.
        stored: indices of the new tokens to store, int64; None for all.
        mask: bool ``[L, number stored]``, which of the stored tokens each new one may attend to; None for all.
        rotation: of rotary positions.
    """

    shape: torch.Size
    prefix_caches: Sequence[KVCache]
    row_cache: KVCache
    stored: Tensor | None
    mask: Tensor | None
    rotation: Rotation | None

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Store a layer's keys and values, then attend: ``[G * R * L, H, d]`` to ``[G * R * L, E]``."""
        queries, keys, values = (self._by_row(part) for part in (queries, keys, values))  # [G, R, H, L, d]
        queries, keys = rotate(queries, self.rotation), rotate(keys, self.rotation)
        if self.stored is not None:
            keys, values = keys[..., self.stored, :], values[..., self.stored, :]
        self.row_cache.write(layer, keys, values)
        caches = [(cache.keys(layer), cache.values(layer)) for cache in self.prefix_caches if cache.length]
        length = self.row_cache.length + keys.shape[-2]
        if length:
            caches.append((self.row_cache.keys(layer, length), self.row_cache.values(layer, length)))
        heads = attend_to_caches(queries, caches, self.mask)  # [G, R, H, L, d]
        if self.shape[-1] > 1:
            heads = heads.transpose(2, 3)
        return heads.reshape(self.shape.numel(), -1)

    def _by_row(self, part: Tensor) -> Tensor:
        if self.shape[-1] == 1:
            return part.view(*self.shape[:-1], part.shape[1], 1, part.shape[2])
        return part.unflatten(0, self.shape).transpose(2, 3)


class Attention(nn.Module):
    """The linear maps of multi-head attention.

    Args:
        width: model width E.
        n_head: heads H, each ``E / H`` wide.
    """

    def __init__(self, width: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map ``x [*, E]`` to queries, keys and values, each ``[*, H, d]``."""
        queries, keys, values = self.qkv(x.to(self.qkv.weight.dtype)).unflatten(-1, (3, self.n_head, -1)).unbind(-3)
        return queries, keys, values
