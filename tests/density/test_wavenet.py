"""WaveNet: what depends on what, and sample-by-sample synthesis."""

import pytest
import torch
from torch import Tensor

from trajectory_adacat.density.levels import LEVELS
from trajectory_adacat.density.wavenet import WaveNet, WaveNetConfig
from trajectory_adacat.errors import InputError

HOP, N_MELS = 4, 3
SIZES = {"n_layers": 4, "n_stacks": 2, "kernel": 2, "residual": 3, "skip": 5}


def make(**changes: int) -> WaveNet:
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig(**{**SIZES, **changes}), N_MELS, HOP).eval()
    model.set_statistics(torch.randn(50, N_MELS), torch.randint(0, LEVELS, (50,)))
    return model


def some(length: int = 32, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    levels = torch.randint(0, LEVELS, (batch, length), generator=generator)
    return levels, torch.randn(batch, length // HOP, N_MELS, generator=generator)


@pytest.mark.parametrize("kernel", [2, 3])
@torch.no_grad()
def test_a_sample_depends_on_exactly_the_receptive_field_before_it(kernel: int) -> None:
    model = make(kernel=kernel)
    levels, mel = some(48)
    before = model.hidden(levels, mel)
    changed = levels.clone()
    changed[:, 10] = LEVELS - changed[:, 10]
    differs = (model.hidden(changed, mel) != before).any(-1).any(0)
    reach = model.config.receptive_field
    assert reach == 1 + (kernel - 1) * 6
    assert not differs[: 10 + 1].any()
    assert differs[11]
    assert differs[10 + reach]
    assert not differs[10 + reach + 1 :].any()


@torch.no_grad()
def test_a_mel_frame_matters_to_its_samples_and_the_reach_after_them() -> None:
    model = make()
    levels, mel = some(48)
    before = model.hidden(levels, mel)
    mel[:, 3] += 1.0
    differs = (model.hidden(levels, mel) != before).any(-1).any(0)
    first, last = 3 * HOP, 4 * HOP - 1
    assert not differs[:first].any()
    assert differs[first : last + 1].all()
    assert not differs[last + model.config.receptive_field :].any()


@pytest.mark.parametrize("kernel", [2, 3])
@torch.no_grad()
def test_cached_hidden_states_are_those_of_the_whole_series(kernel: int) -> None:
    model = make(kernel=kernel)
    levels, mel = some()
    generator = model.start(mel)
    before = torch.cat((torch.full((2, 1), LEVELS // 2), levels[:, :-1]), 1)
    cached = torch.stack([generator.step(before[:, i]) for i in range(levels.shape[1])], 1)
    torch.testing.assert_close(cached, model.hidden(levels, mel), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n_layers": 3}, "multiple of n_stacks"), ({"kernel": 1}, "kernel"), ({"residual": 0}, "residual")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WaveNetConfig(**{**SIZES, **settings})
