"""16-bit levels and the mu-law scale."""

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from trajectory_adacat.density.forms import AUDIO_FORMS
from trajectory_adacat.density.levels import (
    LEVELS,
    MU,
    centres,
    level_log_prob,
    mu_law,
    mu_law_log_width,
    raw_log_width,
    to_levels,
    to_samples,
    waveform,
)

ENDS = torch.tensor([-32768, -1, 0, 32767], dtype=torch.int16)


def test_samples_become_levels_and_come_back() -> None:
    levels = to_levels(ENDS)
    assert levels.tolist() == [0, 32767, 32768, 65535]
    assert torch.equal(to_samples(levels), ENDS)


def test_the_waveform_lies_in_the_middle_of_each_level() -> None:
    levels = to_levels(ENDS)
    expected = (ENDS.double() + 0.5) / 32768
    torch.testing.assert_close(waveform(levels).double(), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(2 * centres(levels) - 1, expected)


def test_the_mu_law_scale_is_odd_and_keeps_the_ends() -> None:
    values = torch.linspace(-1, 1, 101, dtype=torch.float64)
    scaled = mu_law(values)
    torch.testing.assert_close(scaled, -scaled.flip(0))
    torch.testing.assert_close(scaled[[0, 50, 100]], torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    assert (scaled.diff() > 0).all()


def test_the_width_of_a_level_on_the_mu_law_scale_follows_the_derivative() -> None:
    levels = torch.tensor([0, 20_000, 32_768 + 500, 60_000])
    x = (2 * centres(levels) - 1).requires_grad_()
    (derivative,) = torch.autograd.grad(mu_law(x).sum(), x)
    expected = derivative.log() + raw_log_width()
    torch.testing.assert_close(mu_law_log_width(levels), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(derivative, MU / math.log1p(MU) / (1 + MU * x.detach().abs()))


@torch.no_grad()
def test_the_masses_of_all_levels_have_the_density_of_the_change_of_variables() -> None:
    # A normal distribution of the mu-law value y = f(x) has the density p(f(x)) f'(x) of x: its levels' masses, divided
    # by their widths on either scale, must give both.
    y = Normal(torch.tensor(0.1, dtype=torch.float64), 0.2)
    levels = torch.arange(20_000, 60_000, 997)
    edges = mu_law(2 * torch.stack((levels, levels + 1)).double() / LEVELS - 1)
    log_mass = (y.cdf(edges[1]) - y.cdf(edges[0])).log()
    x = (2 * centres(levels) - 1).requires_grad_()
    with torch.enable_grad():
        (derivative,) = torch.autograd.grad(mu_law(x).sum(), x)
    on_scale = y.log_prob(mu_law(x))
    torch.testing.assert_close(log_mass - mu_law_log_width(levels), on_scale, rtol=0, atol=2e-3)
    torch.testing.assert_close(log_mass - raw_log_width(), on_scale + derivative.log(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("form", AUDIO_FORMS)
@torch.no_grad()
def test_the_masses_of_all_levels_add_up_to_one(form: str) -> None:
    torch.manual_seed(0)
    _, head = AUDIO_FORMS[form]().make(1, 4)
    torch.nn.init.normal_(head.weight)
    distribution: Any = head.distribution_of(torch.randn(4), 0)
    total = sum(
        level_log_prob(distribution.expand((len(part),)), part).double().exp().sum()
        for part in torch.arange(LEVELS).split(8192)
    )
    assert float(total) == pytest.approx(1.0, abs=1e-4)
