"""Attention: who may attend to what, within a sequence and from new tokens to caches that rows share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.models.positions import Rotation, rotate
from trajectory_adacat.transition import TransitionSpec


def is_attended(positions: Tensor, spec: TransitionSpec) -> Tensor:
    """Whether any later query may attend to the tokens at ``positions``: to all but the values."""
    return positions % spec.dimension != spec.value


def attention_mask(positions: Tensor, spec: TransitionSpec) -> Tensor:
    """Which key (column) each query (row) at ``positions [T]`` may attend to, bool ``[T, T]``: nothing later, no value.

    The same rule serves training, prefill and cached decoding, so that they cannot disagree.
    """
    return (positions[:, None] >= positions[None, :]) & is_attended(positions, spec)[None, :]


def attend_rows(queries: Tensor, caches: Sequence[tuple[Tensor, Tensor]], block_mask: Tensor | None) -> Tensor:
    """Attention of all rows over caches that groups of rows share: each is read once, not once a row.

    Args:
        queries: ``[G, R, H, L, d]``.
        caches: keys and values ``[G, S, H, n, d]`` each; rows r with equal ``r // (R / S)`` share one.
        block_mask: bool ``[L, m]``, which of the last m keys of the last cache each query sees; None for all.

    Returns:
        ``[G, R, H, L, d]``.
    """
    length, size = queries.shape[-2:]

    def group(rows: Tensor, n_groups: int) -> Tensor:  # [G, R, H, L, x] -> [G, S, H, R / S * L, x]
        return rows.unflatten(1, (n_groups, -1)).transpose(2, 3).flatten(3, 4)

    def ungroup(rows: Tensor) -> Tensor:
        return rows.unflatten(3, (-1, length)).transpose(2, 3).flatten(1, 2)

    scaled = queries * size**-0.5
    grouped = [group(scaled, keys.shape[1]) @ keys.transpose(-1, -2) for keys, _ in caches]
    scores = torch.cat([ungroup(score) for score in grouped], -1)  # [G, R, H, L, all keys]
    if block_mask is not None:
        scores[..., scores.shape[-1] - block_mask.shape[1] :].masked_fill_(~block_mask, -torch.inf)
    weights = scores.softmax(-1).split([keys.shape[-2] for keys, _ in caches], -1)
    parts = [ungroup(group(w, values.shape[1]) @ values) for w, (_, values) in zip(weights, caches, strict=True)]
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class NewTokens:
    """What the layers need to know of tokens that are being decoded; see `GPT.decode`.

    Attributes:
        shared: caches of the tokens before those in ``own``, each shared by groups of rows.
        own: the cache that takes the new tokens' keys and values.
        stored: which of the new tokens are stored, int64; None for all.
        mask: bool ``[L, stored]``, which of them each new token may attend to; None for all.
        rotation: of rotary positions.
    """

    shared: Sequence[KVCache]
    own: KVCache
    stored: Tensor | None
    mask: Tensor | None
    rotation: Rotation | None


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: of the model, E.
        n_head: heads H; each is ``width / n_head`` wide.
        dropout: of the attention weights, in training.
    """

    def __init__(self, width: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.n_head = n_head
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor, rotation: Rotation | None) -> Tensor:
        """Attends within ``x [B, T, E]`` where the bool ``mask [T, T]`` allows."""
        heads = self.qkv(x.to(self.qkv.weight.dtype)).unflatten(-1, (3, self.n_head, -1))
        heads = heads.permute(2, 0, 3, 1, 4)  # [3, B, H, T, d]
        queries, keys, values = heads.unbind(0)
        queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        dropout = self.dropout if self.training else 0.0
        precision: AbstractContextManager = nullcontext()
        if queries.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # On a CPU the fused kernel's backward pass is slower in bfloat16 than in float32.
            precision = torch.autocast("cpu", enabled=False)
            queries, keys, values = (part.to(self.qkv.weight.dtype) for part in (queries, keys, values))
        with precision:
            y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        return self.project(y.transpose(1, 2).flatten(2))

    def remember(self, x: Tensor, layer: int, new: NewTokens) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Stores the keys and values of new tokens ``x [G, R, L, E]``; see `GPT.decode`.

        Returns:
            What `attend_rows` takes: their queries ``[G, R, H, L, d]``, and all keys and values that these attend to.
        """
        heads = self.qkv(x.to(self.qkv.weight.dtype)).unflatten(-1, (3, self.n_head, -1))
        heads = heads.permute(3, 0, 1, 4, 2, 5)  # [3, G, R, H, L, d]
        queries, keys, values = heads.unbind(0)
        queries, keys = rotate(queries, new.rotation), rotate(keys, new.rotation)
        if new.stored is not None:
            keys, values = keys[..., new.stored, :], values[..., new.stored, :]
        new.own.write(layer, keys, values)
        length = new.own.length + keys.shape[-2]
        caches = [(cache.keys(layer), cache.values(layer)) for cache in new.shared if cache.length]
        if length:
            caches.append((new.own.keys(layer, length), new.own.values(layer, length)))
        return queries, caches
