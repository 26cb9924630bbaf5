"""The Trajectory Transformer: a GPT over the scalar tokens of transitions."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.attention import Attention, NewTokens, attend_rows, attention_mask, is_attended
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.models.positions import LearnedPositions, PositionKind, RotaryPositions, Rotation
from trajectory_adacat.settings import check_choices, variant
from trajectory_adacat.transition import TransitionSpec

INITIAL_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings of the model (paper section 4.4 and Trajectory Transformer).

    Raises:
        InputError: for a value out of range.
    """

    head: HeadConfig = variant("parameterization", HEADS, default="adacat")  # form of the outputs
    n_layer: int = 4  # transformer blocks
    n_head: int = 4  # attention heads of a block
    n_embd: int = 32  # width of each head; the model is n_head * n_embd wide
    positions: PositionKind = "learned"  # learned for each place in the block, or rotary over transitions
    embd_pdrop: float = 0.1  # dropout of the embedding
    attn_pdrop: float = 0.1  # dropout of the attention weights
    resid_pdrop: float = 0.1  # dropout of the residual branches

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        if self.positions == "rotary" and self.n_embd % 2:
            raise InputError(f"rotary positions need an even n_embd, got {self.n_embd}.")


@dataclass(frozen=True)
class GPTConfig(ModelConfig):
    """The form of a model: its settings, and the sizes that the data give it.

    Attributes:
        observation_size: dimensions o of an observation.
        action_size: dimensions a of an action.
        n_transitions: transitions in a training sequence.

    Raises:
        InputError: for a value out of range.
    """

    observation_size: int
    action_size: int
    n_transitions: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_transitions < 1:
            raise InputError(f"n_transitions must be at least 1, got {self.n_transitions}.")

    @classmethod
    def sized(cls, settings: ModelConfig, spec: TransitionSpec, n_transitions: int) -> Self:
        """Give a model's settings the sizes of the data."""
        values = {field.name: getattr(settings, field.name) for field in fields(ModelConfig)}
        return cls(spec.observation_size, spec.action_size, n_transitions, **values)

    @property
    def spec(self) -> TransitionSpec:
        """The layout of a transition."""
        return TransitionSpec(self.observation_size, self.action_size)

    @property
    def width(self) -> int:
        """The model's width E."""
        return self.n_head * self.n_embd

    @property
    def block_size(self) -> int:
        """The most input tokens: all of a training sequence but the last."""
        return self.n_transitions * self.spec.dimension - 1


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.n_head, config.attn_pdrop)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, 4 * config.width)
        self.contract = nn.Linear(4 * config.width, config.width)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, mask: Tensor, rotation: Rotation | None) -> Tensor:
        """Maps ``x [B, T, E]`` to the same shape."""
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, rotation))
        return x + self.dropout(self._mlp(x))

    def after_attention(self, x: Tensor, read: Tensor) -> Tensor:
        """Maps rows ``x [N, E]``, with what attention read for each ``[N, E]``, to the same shape; for decoding."""
        x = x + self.attention.project(read)
        return x + self._mlp(x)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(self.mlp_norm(x).to(self.expand.weight.dtype))))


class GPT(nn.Module):
    """A causal transformer over tokens in [0, 1] whose heads give a distribution for each next token.

    Args:
        config: the model's form.
    """

    mask: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec
        dimension, width = self.spec.dimension, config.width
        self.embedding, self.head = config.head.make(dimension, width)
        self.positions: LearnedPositions | RotaryPositions
        if config.positions == "learned":
            self.positions = LearnedPositions(config.block_size, width)
        else:
            self.positions = RotaryPositions(dimension, width, config.n_embd)
        self.dropout = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(width)
        mask = attention_mask(torch.arange(config.block_size), self.spec)
        self.register_buffer("mask", mask, persistent=False)
        self._after_attention: Callable[[Block, Tensor, Tensor], Tensor] = Block.after_attention
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INITIAL_STD)
                nn.init.zeros_(module.bias)
        # With a zero offset, the first norm would keep no more of a scalar times a vector than the scalar's sign.
        for parameter in (*self.embedding.parameters(), self.positions.weight, self.head.weight):
            nn.init.normal_(parameter, std=INITIAL_STD)

    def fit_statistics(self, tokens: Tensor) -> "GPT":
        """Take what embedding and head need of the training ``tokens [n, D]`` before the first step. Return itself."""
        self.config.head.fit(self.embedding, self.head, tokens)
        return self

    def forward(self, tokens: Tensor) -> Any:
        """The distributions of tokens 1 to T, batch shape ``[B, T]``, given ``tokens [B, T]`` 0 to T - 1.

        Raises:
            InputError: if there are more tokens than the model was built for.
        """
        return self.head.distribution(self.hidden(tokens))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.positions.weight.device

    def hidden(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The last layer's normalized output, ``[B, T, E]``, for ``tokens [B, T]``.

        Args:
            tokens: at most the trained block's, unless a mask is given.
            mask: bool ``[T, T]``, another one than the trained block's.

        Raises:
            InputError: if there are more tokens than the model was built for.
        """
        length = tokens.shape[1]
        if mask is None and length > self.config.block_size:
            raise InputError(f"{length} tokens do not fit a model of {self.config.block_size}.")
        mask = self.mask[:length, :length] if mask is None else mask
        positions = torch.arange(length, device=tokens.device)
        x, rotation = self.dropout(self._embed(tokens, positions)), self.positions.rotation(positions)
        for block in self.blocks:
            x = block(x, mask, rotation)
        return self.norm(x)

    def new_cache(self, n_environments: int, n_rows: int, capacity: int, keys_across: bool = False) -> KVCache:
        """An empty cache for this model's layers, on its device, in its precision; see `KVCache`."""
        config = self.config
        return KVCache(
            n_layers=config.n_layer,
            n_environments=n_environments,
            n_rows=n_rows,
            n_heads=config.n_head,
            capacity=capacity,
            head_size=config.n_embd,
            device=self.device,
            dtype=cast(Block, self.blocks[0]).attention.qkv.weight.dtype,
            keys_across=keys_across,
        )

    def reduce_precision(self) -> "GPT":
        """Keeps the blocks' matrices, and with them the cache, in bfloat16; all else stays as it is. Returns itself.

        Embeddings, norms, the sum along the residual path and the heads keep their precision: a scalar's digits
        are the data.
        """
        # On a CPU, bfloat16 products of each shape are prepared anew, and 1024 of them kept by default: gigabytes, as a
        # cache's length goes through hundreds.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)
        return self

    def compile_decoding(self, backend: str = "inductor") -> "GPT":
        """Compiles (``torch.compile``) what follows the attention in decoding, when it is first used. Returns itself.

        Not what comes before: caches have too many shapes, each of which would be compiled on its own.
        """
        self._after_attention = torch.compile(Block.after_attention, dynamic=True, backend=backend)
        return self

    def decode(self, tokens: Tensor, position: int, shared: Sequence[KVCache], own: KVCache) -> Tensor:
        """The output at the last of some new tokens; their keys and values go to ``own``.

        Keys that no query may attend to are not stored, so that what is stored is attended to without a mask.

        Args:
            tokens: ``[G, R, L]``, the tokens at ``position`` to ``position + L - 1`` of each row.
            position: where the first of them stands.
            shared: caches of the tokens before those in ``own``, each shared by groups of rows.
            own: the cache of these rows, ``[G, R]``.

        Returns:
            ``[G, R, E]``.
        """
        positions = torch.arange(position, position + tokens.shape[-1])  # on the CPU: what is stored decides shapes
        stored = is_attended(positions, self.spec).nonzero().squeeze(1)
        mask = attention_mask(positions, self.spec)[:, stored].to(self.device) if len(positions) > 1 else None
        positions = positions.to(self.device)
        some = stored.to(self.device) if len(stored) < len(positions) else None
        new = NewTokens(shared, own, some, mask, self.positions.rotation(positions))
        x = self._embed(tokens, positions)
        for layer, block in enumerate(cast(Sequence[Block], self.blocks)):
            queries, caches = block.attention.remember(block.attention_norm(x), layer, new)
            read = attend_rows(queries, caches, new.mask).transpose(2, 3).flatten(3)  # [G, R, L, E]
            x = self._after_attention(block, x.flatten(0, 2), read.flatten(0, 2)).view_as(x)
        own.advance(len(stored))
        return self.norm(x[..., -1, :])

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.embedding(tokens, positions % self.spec.dimension) + self.positions(positions)
