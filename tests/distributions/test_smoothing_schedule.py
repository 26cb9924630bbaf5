"""The schedule of the smoothing kernel's width: from coarse to fine, and no narrower than a bin."""

import pytest
import torch

from trajectory_adacat.distributions import AdaCat, SmoothingSchedule, TruncatedNormal, TruncatedUniform
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.heads.adacat import AdaCatConfig, AdaCatHead

# Widths 0.5, 0.25, 0.25; masses 0.2, 0.3, 0.5.
DENSITY = AdaCat(torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor([0.2, 0.3, 0.5]).log())


def test_the_width_falls_geometrically_and_then_stays() -> None:
    schedule = SmoothingSchedule(coeff=0.001, start=0.1, fraction=0.5)
    found = [schedule.width(progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([0.1, 0.01, 0.001, 0.001, 0.001])


def test_without_a_start_the_width_is_constant() -> None:
    assert {SmoothingSchedule(coeff=0.02).width(progress) for progress in (0.0, 0.3, 1.0)} == {0.02}


def test_the_kernel_is_no_narrower_than_its_bin() -> None:
    targets = torch.tensor([0.2, 0.6, 0.9])
    kernel = SmoothingSchedule(coeff=0.15, bins=0.4).kernel(DENSITY, targets, progress=1.0)
    assert isinstance(kernel, TruncatedUniform)
    torch.testing.assert_close(kernel.width, torch.tensor([0.2, 0.15, 0.15]))  # 0.4 * 0.5; 0.4 * 0.25 is below coeff
    torch.testing.assert_close(kernel.loc, targets)


def test_the_kernel_gets_no_gradient_of_the_widths() -> None:
    targets = torch.tensor([0.2, 0.6, 0.9])
    gradients = []
    for learned in (True, False):
        params = torch.cat((DENSITY.width_logits, DENSITY.mass_logits)).requires_grad_()
        density = AdaCat.from_params(params)
        kernel = SmoothingSchedule(bins=1.0).kernel(density, targets, progress=1.0)
        constant = TruncatedUniform(targets, torch.tensor([0.5, 0.25, 0.25]))
        density.smoothed_log_prob(kernel if learned and kernel is not None else constant).sum().backward()
        gradients.append(params.grad)
    torch.testing.assert_close(*gradients)


def test_the_normal_kernel_and_no_kernel() -> None:
    targets = torch.tensor([0.2])
    normal = SmoothingSchedule(coeff=0.1, start=0.4, type="normal").kernel(DENSITY, targets, progress=0.0)
    assert isinstance(normal, TruncatedNormal)
    assert float(normal.scale) == pytest.approx(0.4)
    assert SmoothingSchedule(coeff=0.0).kernel(DENSITY, targets, progress=0.0) is None


def test_the_loss_of_the_head_follows_the_schedule() -> None:
    config = AdaCatConfig(n_bins=3, smooth_start=0.4, smooth_coeff=0.001, smooth_fraction=0.5, smooth_bins=0.1)
    head, schedule = AdaCatHead(3, 2, config), config.smoothing
    targets = torch.tensor([0.3, 0.7])
    for progress in (0.0, 0.2, 1.0):
        head.set_progress(progress)
        kernel = schedule.kernel(DENSITY, targets, progress)
        assert kernel is not None
        torch.testing.assert_close(head.loss(DENSITY, targets), -DENSITY.smoothed_log_prob(kernel))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coeff": -1.0}, "coeff must be finite"),
        ({"start": 0.0001}, "start must be"),
        ({"start": float("inf")}, "start must be"),
        ({"start": 0.1, "coeff": 0.0}, "coeff must be above 0"),
        ({"bins": -0.5}, "bins must be"),
        ({"bins": 1.0, "coeff": 0.0}, "coeff must be above 0"),
        ({"fraction": 0.0}, "fraction must"),
        ({"fraction": 1.5}, "fraction must"),
    ],
)
def test_a_schedule_out_of_range_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmoothingSchedule(**changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"smooth_{message}"):
        AdaCatConfig(**{f"smooth_{name}": value for name, value in changes.items()})  # type: ignore[arg-type]
