"""The model of images: its likelihood, and its samples from cached keys and values."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trajectory_adacat.density.forms import FORMS
from trajectory_adacat.density.images import (
    LEVELS,
    ImagesModelConfig,
    ImagesObjective,
    inputs_of,
    make_image_model,
    pixel_log_prob,
    sample_pixels,
)
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import CausalTransformer
from trajectory_adacat.models.heads.fixed_bins import UniformConfig

TINY = {"n_layer": 2, "n_head": 2, "n_embd": 4}


def make(name: str, n_pixels: int = 6) -> CausalTransformer:
    torch.manual_seed(0)
    model = make_image_model(ImagesModelConfig(form=FORMS[name](), **TINY), n_pixels).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def some_pixels(count: int, n_pixels: int = 6) -> Tensor:
    return torch.randint(0, LEVELS, (count, n_pixels), dtype=torch.uint8)


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_the_likelihoods_of_all_levels_add_up_to_one(name: str) -> None:
    distribution = make(name)(inputs_of(some_pixels(3)))
    levels = torch.arange(LEVELS).view(-1, 1, 1)
    total = pixel_log_prob(distribution.expand((LEVELS, 3, 6)), levels.expand(-1, 3, 6)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


@torch.no_grad()
def test_with_256_uniform_bins_a_level_has_the_mass_of_its_bin() -> None:
    torch.manual_seed(0)
    model = make_image_model(ImagesModelConfig(form=UniformConfig(N=LEVELS), **TINY), 6).eval()
    pixels = some_pixels(2)
    distribution = model(inputs_of(pixels))
    expected = distribution.logits.log_softmax(-1).gather(-1, pixels.long().unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(pixel_log_prob(distribution, pixels).float(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_a_pixel_depends_on_the_earlier_pixels_alone(name: str) -> None:
    model, pixels = make(name), some_pixels(1)
    with torch.no_grad():
        before = pixel_log_prob(model(inputs_of(pixels)), pixels)
        for place in range(6):
            changed = pixels.clone()
            changed[0, place] += 100
            after = pixel_log_prob(model(inputs_of(changed)), pixels)
            assert torch.equal(after[:, : place + 1], before[:, : place + 1])
            assert place == 5 or not torch.allclose(after[:, place + 1 :], before[:, place + 1 :])


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_samples_with_a_cache_are_those_of_the_whole_series(name: str) -> None:
    model = make(name)
    torch.manual_seed(1)
    cached = sample_pixels(model, 5)

    torch.manual_seed(1)
    pixels = torch.zeros(5, 6, dtype=torch.uint8)
    for place in range(6):
        hidden = model.hidden(inputs_of(pixels))[:, place]
        level = (model.head.distribution_of(hidden, 0).sample() * LEVELS).floor().clamp(0, LEVELS - 1)
        pixels[:, place] = level.to(torch.uint8)
    assert (cached.int() - pixels.int()).abs().max() <= 1  # a level's edge may lie within rounding


@torch.no_grad()
def test_samples_follow_the_distribution() -> None:
    model = make("adacat", n_pixels=1)
    sampled = sample_pixels(model, 20_000).double().mean() + 0.5
    assert float(sampled) / LEVELS == pytest.approx(float(model(torch.zeros(1, 1)).mean), abs=0.01)


def test_a_wide_interval_averages_the_density(monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = make("adacat")(inputs_of(some_pixels(1)))
    pixels = torch.full((1, 6), 100, dtype=torch.uint8)
    levels = torch.arange(98, 103).view(-1, 1, 1).expand(-1, 1, 6)
    single = pixel_log_prob(distribution.expand((5, 1, 6)), levels).exp().mean(0)
    wide = pixel_log_prob(distribution, pixels, 5 / LEVELS).exp()
    torch.testing.assert_close(wide, single, rtol=1e-4, atol=1e-6)
    config = ImagesModelConfig(interval_start=0.25)
    assert config.interval_width(0.0) == 0.25
    assert config.interval_width(1.0) == ImagesModelConfig().interval_width(0.0) == 1 / LEVELS


def objective(form: str) -> ImagesObjective:
    torch.manual_seed(0)
    splits = (np.random.default_rng(0).integers(0, LEVELS, size=(n, 2, 3), dtype=np.uint8) for n in (20, 4, 5))
    config = ImagesModelConfig(form=FORMS[form](), **TINY)
    return ImagesObjective(config, Splits(*splits), torch.device("cpu"))


@torch.no_grad()
def test_a_constant_density_has_eight_bits_per_dimension() -> None:
    images = objective("uniform")
    torch.nn.init.zeros_(images.model.head.weight)
    for split in ("validation", "test"):
        assert images.negative_log_likelihood(images.model.eval(), split) == pytest.approx(8.0)
    assert float(images.loss(torch.arange(3), 0.0)) == pytest.approx(8.0 * math.log(2))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns(form: str) -> None:
    images = objective(form)
    optimizer = torch.optim.Adam(images.model.parameters(), 0.01)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = images.loss(torch.arange(20), 0.0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05


def test_quantile_bins_are_those_of_the_training_images() -> None:
    edges = objective("quantile").model.head.edges
    assert edges.shape == (1, 101)
    assert not torch.allclose(edges, torch.linspace(0, 1, 101)[None])


@pytest.mark.parametrize("settings", [{"n_layer": 0}, {"dropout": 1.0}, {"interval_start": 0.001}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings)).replace("dropout", "pdrop")):
        ImagesModelConfig(**settings)  # type: ignore[arg-type]
