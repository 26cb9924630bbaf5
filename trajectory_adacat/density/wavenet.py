"""WaveNet (van den Oord et al. 2016): dilated causal convolutions, conditioned on a mel spectrum."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trajectory_adacat.density.forms import FORMS
from trajectory_adacat.density.levels import LEVELS, mu_law, waveform
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.heads.base import Head, HeadConfig
from trajectory_adacat.settings import variant
from trajectory_adacat.training.config import check_positive


@dataclass(frozen=True, kw_only=True)
class WaveNetConfig:
    """The form of a WaveNet.

    Raises:
        InputError: for a value out of range.
    """

    form: HeadConfig = variant("form", FORMS, default="adacat")  # form of the outputs
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
        stream = self._embed(torch.cat((silence, levels[:, :-1]), 1)).mT  # [B, R, T]
        condition = self._conditions(mel)
        total = torch.zeros((), device=stream.device)
        for layer in self.layers:
            stream, skip = layer(stream, layer.condition(condition).repeat_interleave(self.hop, 1).mT)
            total = total + skip
        return self.outputs(self._scale(total).mT)

    def start(self, mel: Tensor) -> "Generator":
        """Return a generator of samples for frames ``mel [B, F, M]``, see `Generator`."""
        return Generator(self, mel)

    def _embed(self, levels: Tensor) -> Tensor:
        values = waveform(levels)
        return self.inputs(torch.stack((values / self.sample_std, mu_law(values)), -1))

    def _conditions(self, mel: Tensor) -> Tensor:
        return self.conditions((mel - self.mel_mean) / self.mel_std)

    def _scale(self, total: Tensor) -> Tensor:
        return total / math.sqrt(len(self.layers))


class Layer(nn.Module):
    """A dilated causal convolution with gated activations, a residual and a skip connection."""

    def __init__(self, config: WaveNetConfig, dilation: int) -> None:
        super().__init__()
        self.dilation, self.span = dilation, (config.kernel - 1) * dilation
        self.width = config.residual
        self.convolution = nn.Conv1d(config.residual, 2 * config.residual, config.kernel, dilation=dilation)
        self.condition = nn.Linear(config.skip, 2 * config.residual)
        self.mix = nn.Conv1d(config.residual, config.residual + config.skip, 1)

    def forward(self, stream: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stream after this layer ``[B, R, T]`` and its skip output ``[B, S, T]``.

        Args:
            stream: ``[B, R, T]``.
            condition: ``[B, 2R, T]``.
        """
        gates = self.convolution(nn.functional.pad(stream, (self.span, 0))) + condition
        return self._combine(stream, self.mix(gated(gates, 1)), 1)

    def step(self, stream: Tensor, past: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Do the same for one sample.

        Args:
            stream: ``[B, R]``.
            past: inputs of this layer at the earlier taps, oldest first, ``[kernel - 1, B, R]``.
            condition: ``[B, 2R]``.
        """
        taps = torch.cat((*past, stream), 1)  # [B, kernel * R]
        weight = self.convolution.weight.transpose(1, 2).flatten(1)  # [2R, kernel * R]
        gates = nn.functional.linear(taps, weight, self.convolution.bias) + condition
        mixed = nn.functional.linear(gated(gates, 1), self.mix.weight.squeeze(-1), self.mix.bias)
        return self._combine(stream, mixed, 1)

    def _combine(self, stream: Tensor, mixed: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        residual, skip = mixed.split((self.width, mixed.shape[dim] - self.width), dim)
        return (stream + residual) * math.sqrt(0.5), skip


class Generator:
    """Hidden states sample by sample, with each layer's inputs kept (Paine et al. 2016).

    A step costs one matrix product for each layer, whatever the receptive field. `hidden` is equal to rounding.

    Args:
        model: the network.
        mel: frames of the samples to come, ``[B, F, M]``.
    """

    def __init__(self, model: WaveNet, mel: Tensor) -> None:
        self._model, self._time = model, 0
        condition = model._conditions(mel)
        self._conditions = [layer.condition(condition).unbind(1) for layer in model.layers]
        # Position t of a buffer is t modulo its length. Before the start, the convolutions see zeros.
        width = model.config.residual
        self._pasts = [mel.new_zeros(layer.span, len(mel), width) for layer in model.layers]

    def step(self, levels: Tensor) -> Tensor:
        """Return the hidden state ``[B, skip]`` of the next sample, given the one before it, ``levels [B]``."""
        model, frame = self._model, self._time // self._model.hop
        stream = model._embed(levels)
        total = torch.zeros((), device=stream.device)
        for layer, past, conditions in zip(model.layers, self._pasts, self._conditions, strict=True):
            slots = [(self._time - j * layer.dilation) % layer.span for j in range(model.config.kernel - 1, 0, -1)]
            before = stream
            stream, skip = layer.step(stream, past[slots], conditions[frame])
            past[slots[0]] = before  # the oldest tap is not needed again
            total = total + skip
        self._time += 1
        return model.outputs(model._scale(total))


def gated(gates: Tensor, dim: int) -> Tensor:
    """Return ``tanh(a) sigmoid(b)`` of the halves a, b along ``dim``."""
    first, second = gates.chunk(2, dim)
    return first.tanh() * second.sigmoid()


def bound_scales(head: Head) -> None:
    """Let the scales of a head without bins fall to a level of 16 bits, finer than their default bound."""
    if not head.has_bins:
        head.lowest_log_scale = -math.log(LEVELS)
