"""WaveNet (van den Oord et al. 2016): dilated causal convolutions, conditioned on a mel spectrum."""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from trajectory_adacat.density.forms import AUDIO_FORMS
from trajectory_adacat.density.levels import LEVELS, mu_law, waveform
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.settings import variant
from trajectory_adacat.training.config import check_positive


@dataclass(frozen=True, kw_only=True)
class WaveNetConfig:
    """The form of a WaveNet.

    Raises:
        InputError: for a value out of range.
    """

    form: HeadConfig = variant("form", AUDIO_FORMS, default="adacat")  # form of the outputs
    n_layers: int = 10  # dilated convolutions
    n_stacks: int = 2  # stacks of layers; the dilation doubles from 1 within a stack
    kernel: int = 2  # taps of each convolution
    residual: int = 16  # width of the residual stream, and of the gated activations
    skip: int = 32  # width of the sum of the layers' outputs, and of what the head takes

    def __post_init__(self) -> None:
        check_positive(self, ("n_layers", "n_stacks", "residual", "skip"))
        if self.n_layers % self.n_stacks:
            raise InputError(f"n_layers must be a multiple of n_stacks {self.n_stacks}, got {self.n_layers}.")
        if self.kernel < 2:
            raise InputError(f"kernel must be at least 2, got {self.kernel}.")

    @property
    def dilations(self) -> list[int]:
        """The distance between the taps of each layer."""
        return [2 ** (i % (self.n_layers // self.n_stacks)) for i in range(self.n_layers)]

    @property
    def receptive_field(self) -> int:
        """The number of earlier samples on which a sample's distribution depends."""
        return 1 + (self.kernel - 1) * sum(self.dilations)


class WaveNet(nn.Module):
    """Map earlier samples and a mel spectrum to each sample's hidden state, of which `head` makes its distribution.

    Samples are 16-bit levels, whole numbers from 0 to 65535; the head's distributions are on [0, 1]. Each sample enters
    as two numbers, for every form of the outputs: its standardized value, and its value on the mu-law scale. The mel
    frame of a sample's time enters each layer (in training the spectrum of the real recording, also of its future).

    Args:
        config: the form.
        n_mels: mel bands M.
        hop: samples of a mel frame.

    Attributes:
        head: maps the hidden states ``[..., skip]`` to distributions.
        hop: samples of a mel frame.
    """

    mel_mean: Tensor
    mel_std: Tensor
    sample_std: Tensor

    def __init__(self, config: WaveNetConfig, n_mels: int, hop: int) -> None:
        super().__init__()
        self.config, self.hop = config, hop
        self.register_buffer("mel_mean", torch.zeros(n_mels))
        self.register_buffer("mel_std", torch.ones(n_mels))
        self.register_buffer("sample_std", torch.ones(()))
        self.inputs = nn.Linear(2, config.residual)
        self.conditions = nn.Sequential(nn.Linear(n_mels, config.skip), nn.ReLU())
        self.layers = nn.ModuleList([Layer(config, dilation) for dilation in config.dilations])
        self.outputs = nn.Sequential(nn.ReLU(), nn.Linear(config.skip, config.skip), nn.ReLU())
        _, self.head = config.form.make(1, config.skip)
        nn.init.normal_(self.head.weight, std=0.02)
        bound_scales(self.head)

    def set_statistics(self, mel: Tensor, levels: Tensor) -> None:
        """Standardize by training frames ``mel [n, M]`` and training ``levels [m]``."""
        self.mel_mean.copy_(mel.mean(0))
        self.mel_std.copy_(mel.std(0).clamp(min=1e-3))
        self.sample_std.copy_(waveform(levels).std().clamp(min=1 / LEVELS))

    def hidden(self, levels: Tensor, mel: Tensor) -> Tensor:
        """Return the hidden states ``[B, T, skip]`` of the samples, each given the earlier ones alone.

        Args:
            levels: ``[B, T]``.
            mel: frames of these samples, ``[B, T / hop, M]``.
        """
        silence = levels.new_full((len(levels), 1), LEVELS // 2)
        stream = self._embed(torch.cat((silence, levels[:, :-1]), 1))  # [B, T, R]
        condition = self._conditions(mel)
        total = torch.zeros((), device=stream.device)
        for layer in self.each_layer():
            stream, skip = layer(stream, layer.past_of(stream), layer.condition(condition))
            total = total + skip
        return self._outputs(total)

    def start(self, mel: Tensor) -> "Generator":
        """Return a generator of samples for frames ``mel [B, F, M]``, see `Generator`."""
        return Generator(self, mel)

    def each_layer(self) -> list["Layer"]:
        """Return the layers, the first one first."""
        return cast(list[Layer], list(self.layers))

    def _embed(self, levels: Tensor) -> Tensor:
        values = waveform(levels)
        return self.inputs(torch.stack((values / self.sample_std, mu_law(values)), -1))

    def _conditions(self, mel: Tensor) -> Tensor:
        return self.conditions((mel - self.mel_mean) / self.mel_std)

    def _outputs(self, total: Tensor) -> Tensor:
        return self.outputs(total / math.sqrt(len(self.layers)))


class Layer(nn.Module):
    """A dilated causal convolution with gated activations, a residual and a skip connection.

    Attributes:
        distances: of the earlier taps, the largest first.
        condition: maps what comes from the mel frames ``[..., skip]`` to what a layer adds to its gates ``[..., 2R]``.
    """

    def __init__(self, config: WaveNetConfig, dilation: int) -> None:
        super().__init__()
        self.distances = [dilation * j for j in range(config.kernel - 1, 0, -1)]
        self._width = config.residual
        self.convolution = nn.Linear(config.kernel * config.residual, 2 * config.residual)
        self.condition = nn.Linear(config.skip, 2 * config.residual, bias=False)
        self.mix = nn.Linear(config.residual, config.residual + config.skip)

    def past_of(self, stream: Tensor) -> list[Tensor]:
        """Return the earlier taps of all positions of ``stream [B, T, R]``, each of its shape; 0 before the start."""
        length = stream.shape[1]
        return [nn.functional.pad(stream, (0, 0, distance, 0))[:, :length] for distance in self.distances]

    def forward(self, stream: Tensor, past: list[Tensor], condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stream after this layer and its skip output ``[..., T, S]``.

        Args:
            stream: ``[..., T, R]``.
            past: its values at the earlier taps, likewise.
            condition: of T / n frames of n samples, ``[..., T / n, 2R]``.
        """
        gates = self.convolution(torch.cat((*past, stream), -1))
        by_frame = gates.unflatten(-2, (condition.shape[-2], -1))  # [..., T / n, n, 2R]
        values, openings = (by_frame + condition.unsqueeze(-2)).flatten(-3, -2).chunk(2, -1)
        residual, skip = self.mix(values.tanh() * openings.sigmoid()).tensor_split((self._width,), -1)
        return (stream + residual) * math.sqrt(0.5), skip


class Generator:
    """Hidden states sample by sample, with each layer's inputs kept (Paine et al. 2016).

    A step costs one matrix product for each layer, whatever the receptive field. The hidden states are those of
    `WaveNet.hidden` to rounding.

    Args:
        model: the network.
        mel: frames of the samples to come, ``[B, F, M]``.
    """

    def __init__(self, model: WaveNet, mel: Tensor) -> None:
        self._model, self._time = model, 0
        condition = model._conditions(mel)
        self._conditions = [layer.condition(condition).split(1, 1) for layer in model.each_layer()]
        # The input at time t is kept at t modulo the largest distance. Before the start, the convolutions see zeros.
        zeros = mel.new_zeros(len(mel), 1, model.config.residual)
        self._kept = [[zeros] * layer.distances[0] for layer in model.each_layer()]

    def step(self, levels: Tensor) -> Tensor:
        """Return the hidden state ``[B, skip]`` of the next sample, given the one before it, ``levels [B]``."""
        model, frame = self._model, self._time // self._model.hop
        stream = model._embed(levels.unsqueeze(1))  # [B, 1, R]
        total = torch.zeros((), device=stream.device)
        for layer, kept, conditions in zip(model.each_layer(), self._kept, self._conditions, strict=True):
            past = [kept[(self._time - distance) % len(kept)] for distance in layer.distances]
            kept[self._time % len(kept)] = stream  # in place of the oldest, which is in `past`
            stream, skip = layer(stream, past, conditions[frame])
            total = total + skip
        self._time += 1
        return model._outputs(total).squeeze(1)


def bound_scales(head: Any) -> None:
    """Let the scales of a head without bins fall to a level of 16 bits, finer than their default bound."""
    if not head.has_bins:
        head.lowest_log_scale = -math.log(LEVELS)
