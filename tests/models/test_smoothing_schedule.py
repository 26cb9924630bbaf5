"""The schedule of the smoothing kernel's width: from coarse to fine."""

import pytest
import torch

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.heads.adacat import AdaCatConfig, AdaCatHead


def test_lambda_falls_geometrically_and_then_stays() -> None:
    config = AdaCatConfig(smooth_start=0.1, smooth_coeff=0.001, smooth_fraction=0.5)
    found = [config.smoothing(progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([0.1, 0.01, 0.001, 0.001, 0.001])


def test_without_a_start_lambda_is_constant() -> None:
    assert {AdaCatConfig(smooth_coeff=0.02).smoothing(progress) for progress in (0.0, 0.3, 1.0)} == {0.02}


def test_the_loss_follows_the_schedule() -> None:
    config = AdaCatConfig(n_bins=4, smooth_start=0.4, smooth_coeff=0.001, smooth_fraction=0.5)
    annealed = AdaCatHead(3, 2, config)
    torch.nn.init.zeros_(annealed.weight)
    outputs = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0])
    target, distribution = torch.tensor(0.3), annealed.to_distribution(outputs, 0)
    for progress, width in ((0.0, 0.4), (0.5, 0.001), (1.0, 0.001)):
        annealed.set_progress(progress)
        constant = AdaCatHead(3, 2, AdaCatConfig(n_bins=4, smooth_coeff=width))
        torch.testing.assert_close(annealed.loss(distribution, target), constant.loss(distribution, target))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smooth_start": 0.0001}, "smooth_start"),
        ({"smooth_start": float("inf")}, "smooth_start"),
        ({"smooth_start": 0.1, "smooth_coeff": 0.0}, "smooth_coeff above 0"),
        ({"smooth_fraction": 0.0}, "smooth_fraction"),
        ({"smooth_fraction": 1.5}, "smooth_fraction"),
    ],
)
def test_a_schedule_out_of_range_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdaCatConfig(**changes)  # type: ignore[arg-type]
