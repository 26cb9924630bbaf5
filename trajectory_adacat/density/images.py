"""Density models of images (Section 4.2, Table 2): a GPT over pixels, whose heads give each pixel's mass."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trajectory_adacat.density.config import DensityTrainerConfig
from trajectory_adacat.density.forms import FORMS
from trajectory_adacat.density.objective import DensityObjective, Split
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.distributions import SmoothingSchedule
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import CausalTransformer, SeriesConfig
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.settings import variant
from trajectory_adacat.training.config import check_positive

LEVELS = 256


@dataclass(frozen=True, kw_only=True)
class ImagesModelConfig:
    """The form of an image model.

    Raises:
        InputError: for a value out of range.
    """

    form: HeadConfig = variant("form", FORMS, default="adacat")  # form of the outputs
    n_layer: int = 2  # transformer blocks
    n_head: int = 4  # attention heads of a block
    n_embd: int = 16  # width of each head; the model is n_head * n_embd wide
    dropout: float = 0.0  # dropout of embedding, attention weights and residual branches
    interval_start: float | None = None  # width at first of the interval whose mass is the loss; none: 1/256 always

    def __post_init__(self) -> None:
        self.series(1)  # its checks
        if self.interval_start is not None and not 1 / LEVELS <= self.interval_start <= 1:
            raise InputError(f"interval_start must lie between 1/256 and 1, got {self.interval_start}.")

    def series(self, n_pixels: int) -> SeriesConfig:
        """Return the form of the transformer."""
        return SeriesConfig(
            n_pixels,
            LEVELS,
            head=self.form,
            n_layer=self.n_layer,
            n_head=self.n_head,
            n_embd=self.n_embd,
            embd_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            resid_pdrop=self.dropout,
        )

    def interval_width(self, progress: float) -> float:
        """Return the width of the interval of the loss when a share ``progress`` of the steps is done."""
        return SmoothingSchedule(1 / LEVELS, self.interval_start).width(progress)


@dataclass(frozen=True, kw_only=True)
class ImagesDataConfig:
    """Which images are used.

    Raises:
        InputError: for a value out of range.
    """

    shrink: int = 1  # squares of this many pixels a side are averaged to one pixel
    n_validation: int = 5000  # last images of the training file, for model selection
    n_test: int | None = None  # first images of the test file; none: all

    def __post_init__(self) -> None:
        check_positive(self, ("shrink", "n_validation", "n_test"))


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """All settings that define the method of a training on images."""

    data: ImagesDataConfig = field(default_factory=ImagesDataConfig)
    model: ImagesModelConfig = field(default_factory=ImagesModelConfig)
    trainer: DensityTrainerConfig = field(default_factory=DensityTrainerConfig)


class ImagesObjective(DensityObjective):
    """A model of images. The likelihood of a pixel's level i is the mass of [i / 256, (i + 1) / 256].

    Args:
        config: the form of the model.
        data: the images.
        device: of the model.
    """

    unit = "bits per dimension"
    model: CausalTransformer

    def __init__(self, config: ImagesModelConfig, data: Splits, device: torch.device) -> None:
        self._config, self._device = config, device
        self._splits = {name: _flat(getattr(data, name)) for name in ("training", "validation", "test")}
        training = self._splits["training"]
        self.n_examples = len(training)
        self.model = make_image_model(config, training.shape[1])
        fit_bins(config.form, self.model, training)
        self.model.to(device)

    def loss(self, indices: Tensor, progress: float) -> Tensor:
        """Return the mean negative log-likelihood of a pixel, in nats."""
        pixels = self._splits["training"][indices].to(self._device)
        width = self._config.interval_width(progress)
        return -pixel_log_prob(self.model(inputs_of(pixels)), pixels, width).mean()

    def negative_log_likelihood(self, model: nn.Module, split: Split) -> float:
        """Return the mean over a split's pixels, in bits."""
        total = 0.0
        for part in self._splits[split].split(128):
            pixels = part.to(self._device)
            total -= float(pixel_log_prob(model(inputs_of(pixels)), pixels).double().sum())
        return total / self._splits[split].numel() / math.log(2)


def make_image_model(config: ImagesModelConfig, n_pixels: int) -> CausalTransformer:
    """Make the transformer."""
    return CausalTransformer(config.series(n_pixels))


def fit_bins(form: HeadConfig, model: CausalTransformer, pixels: Tensor) -> None:
    """Set the edges of quantile bins from the training ``pixels [n, P]``."""
    embedding, _ = form.make(*model.head.weight.shape[:2])  # its edges are set too, and not used
    form.fit(embedding, model.head, centres(pixels).reshape(-1, 1))


def centres(pixels: Tensor) -> Tensor:
    """Return the centres in [0, 1] of the levels' intervals."""
    return (pixels + 0.5) / LEVELS


def inputs_of(pixels: Tensor) -> Tensor:
    """Return the model's inputs for ``pixels [B, P]``: nothing, as 0, then all pixels but the last; ``[B, P]``."""
    return nn.functional.pad(centres(pixels)[:, :-1], (1, 0))


def pixel_log_prob(distribution: Any, pixels: Tensor, width: float = 1 / LEVELS) -> Tensor:
    """Return the log of the mean density, times 1 / 256, in the interval of this width around each level's centre.

    With a width of 1 / 256 this is the log-likelihood of the level. The first and the last level's intervals then reach
    to minus and plus infinity, so that the levels of a distribution on the real line have a mass of 1 together.

    Args:
        distribution: batch shape ``[B, P]``.
        pixels: levels, whole numbers, ``[B, P]``.
        width: of the interval.
    """
    middle, half = centres(pixels).double(), width / 2
    low = (middle - half).masked_fill(pixels == 0, -torch.inf)
    high = (middle + half).masked_fill(pixels == LEVELS - 1, torch.inf)
    return distribution.interval_log_prob(low, high) - math.log(width * LEVELS)


@torch.no_grad()
def sample_pixels(model: CausalTransformer, count: int) -> Tensor:
    """Draw images pixel by pixel, with cached keys and values; whole numbers ``[count, P]``."""
    length = model.config.block_size
    cache = model.new_cache(1, count, length)
    pixels = torch.zeros(count, length, dtype=torch.uint8, device=model.device)
    token = torch.zeros(1, count, 1, device=model.device)
    for position in range(length):
        hidden = model.decode(token, position, [], cache)[0]  # [count, E]
        level = (model.head.distribution_of(hidden, 0).sample() * LEVELS).floor().clamp(0, LEVELS - 1)
        pixels[:, position] = level.to(torch.uint8)
        token = centres(level).float()[None, :, None]
    return pixels


def _flat(images: Any) -> Tensor:
    return torch.from_numpy(images.copy()).flatten(1)
