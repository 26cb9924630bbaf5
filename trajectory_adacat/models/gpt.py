"""The Trajectory Transformer: a GPT over the scalar tokens of transitions."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trajectory_adacat.distributions import PiecewiseConstant
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.attention import Attention, NewTokens, attend_rows, attention_mask, is_attended
from trajectory_adacat.models.embeddings import EmbeddingKind, ScalarEmbedding, TokenEmbedding
from trajectory_adacat.models.heads import AdaCatHead, FixedBinsHead, Parameterization, uniform_edges
from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.models.positions import LearnedPositions, PositionKind, RotaryPositions, Rotation
from trajectory_adacat.transition import TransitionSpec

INITIAL_STD = 0.02


@dataclass(frozen=True)
class GPTConfig:
    """The model's form (paper section 4.4 and Trajectory Transformer).

    Attributes:
        observation_size: dimensions o of an observation.
        action_size: dimensions a of an action.
        n_transitions: transitions in a training sequence.
        n_layer: transformer blocks.
        n_head: attention heads of a block.
        n_embd: width of each head; the model is ``n_head * n_embd`` wide.
        parameterization: "adacat", or the baselines "uniform" and "quantile".
        n_bins: AdaCat's k, or the baselines' N.
        embedding: AdaCat's scalar embedding: one vector "shared" by all dimensions, or one "per_dimension".
        positions: "learned" for each place in the block (the paper's), or "rotary" over transitions.
        embd_pdrop: dropout of the embedding.
        attn_pdrop: dropout of the attention weights.
        resid_pdrop: dropout of each block's two outputs.

    Raises:
        InputError: for a value out of range.
    """

    observation_size: int
    action_size: int
    n_transitions: int = 10
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 32
    parameterization: Parameterization = "adacat"
    n_bins: int = 50
    embedding: EmbeddingKind = "shared"
    positions: PositionKind = "learned"
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1

    def __post_init__(self) -> None:
        for name in ("n_transitions", "n_layer", "n_head", "n_embd", "n_bins"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        if self.parameterization not in ("adacat", "uniform", "quantile"):
            raise InputError(f"parameterization must be adacat, uniform or quantile, got {self.parameterization!r}.")
        if self.embedding not in ("shared", "per_dimension"):
            raise InputError(f"embedding must be shared or per_dimension, got {self.embedding!r}.")
        if self.positions not in ("learned", "rotary"):
            raise InputError(f"positions must be learned or rotary, got {self.positions!r}.")
        if self.positions == "rotary" and self.n_embd % 2:
            raise InputError(f"rotary positions need an even n_embd, got {self.n_embd}.")

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
        edges: the baselines' bin edges ``(D, N + 1)``; equal widths by default, not used by AdaCat.
    """

    mask: Tensor

    def __init__(self, config: GPTConfig, edges: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec
        dimension, width = self.spec.dimension, config.width
        self.embedding: ScalarEmbedding | TokenEmbedding
        self.head: AdaCatHead | FixedBinsHead
        if config.parameterization == "adacat":
            self.embedding = ScalarEmbedding(dimension, width, config.embedding)
            self.head = AdaCatHead(dimension, width, config.n_bins)
        else:
            edges = uniform_edges(dimension, config.n_bins) if edges is None else edges
            self.embedding = TokenEmbedding(edges, width)
            self.head = FixedBinsHead(edges, width)
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

    def forward(self, tokens: Tensor) -> PiecewiseConstant:
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
