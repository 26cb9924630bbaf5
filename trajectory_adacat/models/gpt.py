"""The Trajectory Transformer: a GPT over the scalar tokens of transitions; and the same over plain series."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.attention import (
    Attend,
    Attention,
    CachedAttention,
    attention_mask,
    is_attended,
    self_attention,
)
from trajectory_adacat.models.embeddings import ScalarEmbedding, TokenEmbedding, uniform_edges
from trajectory_adacat.models.heads.base import Head, HeadConfig
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.models.positions import LearnedPositions, PositionKind, RotaryPositions
from trajectory_adacat.settings import check_choices, variant
from trajectory_adacat.transition import Layout, SeriesSpec, TransitionSpec

HeadInit = Literal["normal", "uniform"]
OffsetInit = Literal["zero", "normal"]
INITIAL_STD = 0.02  # of linear layers and token embeddings, as in the paper's released code; `GPT._initialize` uses it


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
    offset_init: OffsetInit = "zero"  # first positions and offsets of scalar embeddings: zero as released, or normal
    head_init: HeadInit = "normal"  # first weights of the head: normal, or uniform as in the released code
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

    @property
    def width(self) -> int:
        """The model's width E."""
        return self.n_head * self.n_embd


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
    def block_size(self) -> int:
        """The most input tokens: all of a training sequence but the last."""
        return self.n_transitions * self.spec.dimension - 1

    def make_ends(self) -> tuple[ScalarEmbedding | TokenEmbedding, Head]:
        """Make the embedding and the head."""
        return self.head.make(self.spec.dimension, self.width)


@dataclass(frozen=True)
class SeriesConfig(ModelConfig):
    """The form of a model of series of scalars in [0, 1], each of which takes one of evenly spaced levels.

    The first input stands for nothing, so that the first token is predicted too.

    Attributes:
        length: tokens of a series.
        levels: number of levels. Each has an embedding of its own, whatever the head.

    Raises:
        InputError: for a value out of range.
    """

    length: int
    levels: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("length", "levels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")

    @property
    def spec(self) -> SeriesSpec:
        """The layout of the tokens."""
        return SeriesSpec()

    @property
    def block_size(self) -> int:
        """The most input tokens."""
        return self.length

    def make_ends(self) -> tuple[ScalarEmbedding | TokenEmbedding, Head]:
        """Make the embedding and the head."""
        _, head = self.head.make(1, self.width)
        return TokenEmbedding(uniform_edges(1, self.levels), self.width), head


class Block(nn.Module):
    """A pre-norm transformer block. Training and decoding share it; they differ in how it attends."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.n_head)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, 4 * config.width)
        self.contract = nn.Linear(4 * config.width, config.width)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """Map ``x [*, E]`` to the same shape. Only ``attend`` mixes tokens; all else treats each token alone."""
        # Call `attend` here rather than in a submodule, so that `compile_decoding` gets two graphs and not four.
        heads = attend(*self.attention.queries_keys_values(self.attention_norm(x)))
        x = x + self._drop(self.attention.project(heads))
        hidden = F.gelu(self.expand(self.mlp_norm(x).to(self.expand.weight.dtype)))
        return x + self._drop(self.contract(hidden))

    def _drop(self, x: Tensor) -> Tensor:
        return self.dropout(x) if self.training else x


class CausalTransformer(nn.Module):
    """A causal transformer over tokens in [0, 1] whose heads give the distribution of each next token.

    Args:
        config: the architecture.
    """

    mask: Tensor

    def __init__(self, config: GPTConfig | SeriesConfig) -> None:
        super().__init__()
        self.config: GPTConfig | SeriesConfig = config
        self.spec: Layout = config.spec
        dimension, width = self.spec.dimension, config.width
        self.embedding, self.head = config.make_ends()
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
        self._is_compiled = False
        self._initialize()

    def _initialize(self) -> None:
        """Set all first weights: zero biases, and random matrices; settings decide about offsets and the head."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Linear | ScalarEmbedding | TokenEmbedding):
                nn.init.normal_(module.weight, std=INITIAL_STD)
        offsets = [self.positions.weight]
        offsets += [self.embedding.bias] if isinstance(self.embedding, ScalarEmbedding) else []
        for offset in offsets:
            nn.init.normal_(offset, std=INITIAL_STD if self.config.offset_init == "normal" else 0.0)
        if self.config.head_init == "uniform":
            bound = self.config.width**-0.5
            nn.init.uniform_(self.head.weight, -bound, bound)
        else:
            nn.init.normal_(self.head.weight, std=INITIAL_STD)

    def fit_statistics(self, tokens: Tensor) -> Self:
        """Fit embedding and head to the training ``tokens [n, D]``, before the first step; return the model."""
        self.config.head.fit(self.embedding, self.head, tokens)
        return self

    def forward(self, tokens: Tensor) -> Any:
        """Return the distributions of tokens 1 to T, batch shape ``[B, T]``, given ``tokens [B, T]`` 0 to T - 1.

        Raises:
            InputError: if there are more tokens than the model was built for.
        """
        return self.head.distribution(self.hidden(tokens))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.positions.weight.device

    def hidden(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the normalized output of the last block, ``[B, T, E]``, for ``tokens [B, T]``.

        Args:
            tokens: at most `GPTConfig.block_size` per row, unless a mask is given.
            mask: bool ``[T, T]`` in place of the trained block's mask.

        Raises:
            InputError: if there are more tokens than the model was built for.
        """
        length = tokens.shape[1]
        if mask is None and length > self.config.block_size:
            raise InputError(f"{length} tokens do not fit a model of {self.config.block_size}.")
        positions = torch.arange(length, device=tokens.device)
        attend = partial(
            self_attention,
            mask=self.mask[:length, :length] if mask is None else mask,
            rotation=self.positions.rotation(positions),
            dropout=self.config.attn_pdrop if self.training else 0.0,
        )
        x = self.dropout(self._embed(tokens, positions))
        for block in self.blocks:
            x = block(x, attend)
        return self.norm(x)

    def new_cache(self, n_environments: int, n_rows: int, capacity: int, transposed_keys: bool = False) -> KVCache:
        """Return an empty cache for this model's layers, on its device and in its precision; see `KVCache`."""
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
            transposed_keys=transposed_keys,
        )

    def reduce_precision(self) -> Self:
        """Convert the matrices of the blocks, and thereby the cache, to bfloat16; return the model.

        Embeddings, norms, the residual stream and the heads keep their precision, because the digits of a scalar are
        the data. On a CPU, call `computing.limit_onednn_cache` first.
        """
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)
        return self

    def compile_decoding(self, backend: str = "inductor") -> Self:
        """Compile the blocks for decoding (``torch.compile``, at first use), except attention; return the model.

        The caches take many shapes, and each would be compiled on its own.
        """
        for block in self.blocks:
            block.compile(dynamic=True, backend=backend)
        self._is_compiled = True
        return self

    def decode(self, tokens: Tensor, position: int, prefix_caches: Sequence[KVCache], row_cache: KVCache) -> Tensor:
        """Return the output at the last of the new tokens, and store keys and values of all of them in ``row_cache``.

        Keys that no query may attend to are not stored, so that stored keys need no mask.

        Args:
            tokens: ``[G, R, L]``, the tokens of each row at ``position`` to ``position + L - 1``.
            position: of the first token.
            prefix_caches: caches of the tokens before those in ``row_cache``, each shared by groups of rows.
            row_cache: the cache of these rows, ``[G, R]``.

        Returns:
            ``[G, R, E]``.
        """
        length = tokens.shape[-1]
        positions = torch.arange(position, position + length, device=self.device)
        stored = [i for i in range(length) if is_attended(position + i, self.spec)]
        subset = torch.tensor(stored, dtype=torch.int64, device=self.device) if len(stored) < length else None
        mask = None
        if length > 1:
            mask = attention_mask(positions, self.spec)
            mask = mask if subset is None else mask[:, subset]
        rotation = self.positions.rotation(positions)
        attend = CachedAttention(tokens.shape, prefix_caches, row_cache, subset, mask, rotation)
        x = self._embed(tokens, positions).flatten(0, 2)  # [G * R * L, E]: one graph for all shapes, where compiled
        for layer, block in enumerate(self.blocks):
            x = block(x, self._uncompiled(partial(attend, layer)))
        row_cache.advance(len(stored))
        return self.norm(x.unflatten(0, tokens.shape)[..., -1, :])

    def _uncompiled(self, attend: Attend) -> Attend:
        return torch.compiler.disable(attend) if self._is_compiled else attend

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.embedding(tokens, positions % self.spec.dimension) + self.positions(positions)


class GPT(CausalTransformer):
    """The Trajectory Transformer: tokens are those of transitions."""

    config: GPTConfig
    spec: TransitionSpec
