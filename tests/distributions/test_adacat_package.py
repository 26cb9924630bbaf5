"""Agreement with the PyPI package ``adacat`` 0.4.2, and its known errors."""

import pytest
import torch

from trajectory_adacat.distributions import AdaCat, TruncatedNormal

package = pytest.importorskip("adacat.torch")


def draw() -> torch.Tensor:
    return 2 * torch.randn(50, 20, dtype=torch.double, generator=torch.Generator().manual_seed(0))


def values() -> torch.Tensor:
    return torch.rand(50, dtype=torch.double, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", ["log_prob", "cdf", "icdf"])
def test_agrees_at_points(method: str) -> None:
    ours, theirs = AdaCat.from_params(draw()), package.Adacat(draw())
    torch.testing.assert_close(getattr(ours, method)(values()), getattr(theirs, method)(values()))


def test_agrees_on_mean_and_entropy() -> None:
    ours, theirs = AdaCat.from_params(draw()), package.Adacat(draw())
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.entropy(), theirs.entropy)  # a property there, a method in torch.distributions


def test_its_smoothing_is_the_truncated_normal_up_to_an_added_epsilon() -> None:
    ours, theirs = AdaCat.from_params(draw()), package.Adacat(draw())
    smoothed = ours.smoothed_log_prob(TruncatedNormal(values(), 0.05))
    torch.testing.assert_close(theirs.log_prob(values(), smooth_coeff=0.05, eps=0.0), smoothed)
    assert (theirs.log_prob(values(), smooth_coeff=0.05) - smoothed).abs().max() > 1e-7


def test_it_assigns_an_edge_to_the_bin_below() -> None:
    params = torch.tensor([0.0, 0.0, 0.0, 1.0])
    below, above = AdaCat.from_params(params).log_density
    edge = torch.tensor([0.5])
    torch.testing.assert_close(AdaCat.from_params(params).log_prob(edge)[0], above)
    torch.testing.assert_close(package.Adacat(params[None]).log_prob(edge)[0], below)


@pytest.mark.parametrize("method", ["sample", "mean"])
def test_it_loses_its_logits_on_expansion(method: str) -> None:
    expanded = package.Adacat(draw()[0]).expand((3,))
    assert not hasattr(expanded, "n_knobs")
    if method == "mean":
        assert expanded.mean.shape == (3,)
    with pytest.raises(AttributeError):
        expanded.log_prob(values()[:3])


@pytest.mark.parametrize("name", ["variance", "mode", "rsample"])
def test_it_lacks_methods_of_torch_distributions(name: str) -> None:
    with pytest.raises(NotImplementedError):
        getattr(package.Adacat(draw()), name)()
