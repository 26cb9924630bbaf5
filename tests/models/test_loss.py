"""The loss and its mask on a hand-made episode, against plain loops; the likelihoods that are reported."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset, Trajectories
from trajectory_adacat.distributions import AdaCat
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import LossConfig, dimension_weights, group_likelihoods, sequence_loss
from trajectory_adacat.transition import TransitionSpec

MakeModel = Callable[..., GPT]
PARAMETERIZATIONS = ["adacat", "uniform", "quantile", "logistic_mixture"]
SPEC = TransitionSpec(2, 1)
D = 5
GROUPS = {"observation": [0, 1], "action": [2], "reward": [3], "value": [4]}


def window_at_an_episodes_end() -> Batch:
    """Three transitions of which two are real, of an episode of four steps; each number in it is another one."""
    numbers = np.arange(16, dtype=np.float32).reshape(4, 4) ** 1.5
    episode = Episode(numbers[:, :2], numbers[:, 2:3], numbers[:, 3], True, False, np.zeros(2, np.float32))
    trajectories = Trajectories.from_episodes([episode], 0.9, -100.0)
    dataset = SequenceDataset(trajectories, MinMaxNormalizer.fit(trajectories.transitions), SPEC, 3)
    batch = dataset.batch(torch.tensor([2]))
    assert batch.mask[0].tolist() == [True] * 10 + [False] * 5
    return batch


def loss_of(model: GPT, tokens: Tensor, mask: Tensor, config: LossConfig | None = None) -> float:
    with torch.no_grad():
        losses = model.head.loss(model(tokens[:, :-1]), tokens[:, 1:])
        return float(sequence_loss(losses, mask, SPEC, config or LossConfig()))


def with_token(batch: Batch, place: int) -> Tensor:
    tokens = batch.tokens.clone()
    tokens[0, place] = (tokens[0, place] + 0.37) % 1.0
    return tokens


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("place", range(10, 15))
def test_a_padded_token_does_not_count(make_model: MakeModel, parameterization: str, place: int) -> None:
    model, batch = make_model(parameterization), window_at_an_episodes_end()
    assert loss_of(model, with_token(batch, place), batch.mask) == loss_of(model, batch.tokens, batch.mask)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("place", range(10))
def test_every_real_token_counts(make_model: MakeModel, parameterization: str, place: int) -> None:
    model, batch = make_model(parameterization), window_at_an_episodes_end()
    assert loss_of(model, with_token(batch, place), batch.mask) != loss_of(model, batch.tokens, batch.mask)


def test_exactly_the_real_tokens_but_the_first_are_targets() -> None:
    """With fixed predictions, so that a token can only count as a target."""
    batch = window_at_an_episodes_end()
    distribution = AdaCat(torch.zeros(1, 14, 5), torch.arange(5.0).expand(1, 14, -1))

    def loss(tokens: Tensor) -> Tensor:
        return sequence_loss(-distribution.log_prob(tokens[:, 1:]), batch.mask, SPEC, LossConfig())

    before = loss(batch.tokens)
    counted = []
    for place in range(15):
        if loss(with_token(batch, place)) != before:
            counted.append(place)
    assert counted == list(range(1, 10))


def test_padding_gives_no_gradient(make_model: MakeModel) -> None:
    """The loss of a padded window is that of the window cut short, up to the count of targets."""
    model, batch = make_model(), window_at_an_episodes_end()
    gradients = []
    for tokens, mask in ((batch.tokens, batch.mask), (batch.tokens[:, :10], batch.mask[:, :10])):
        model.zero_grad()
        losses = model.head.loss(model(tokens[:, :-1]), tokens[:, 1:])
        loss = sequence_loss(losses, mask, SPEC, LossConfig()) * (tokens.shape[1] - 1)
        loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for padded, short in zip(*gradients, strict=True):
        torch.testing.assert_close(padded, short)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_the_loss_is_that_of_a_plain_loop(make_model: MakeModel, parameterization: str) -> None:
    model = make_model(parameterization, smooth_coeff=0.0)
    generator = torch.Generator().manual_seed(0)
    tokens, mask = torch.rand(3, 15, generator=generator), torch.rand(3, 15, generator=generator) < 0.7
    config = LossConfig(action_weight=5.0, reward_weight=2.0, value_weight=3.0)
    log_prob = model(tokens[:, :-1]).log_prob(tokens[:, 1:]).tolist()
    weights = [1, 1, 5, 2, 3]
    total = sum(
        -log_prob[row][place - 1] * weights[place % D] for row in range(3) for place in range(1, 15) if mask[row, place]
    )
    assert loss_of(model, tokens, mask, config) == pytest.approx(total / (3 * 14), rel=1e-5)


def test_weights_by_default_are_the_papers() -> None:
    assert dimension_weights(LossConfig(), SPEC).tolist() == [1, 1, 5, 1, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action_weight", -1.0),
        ("reward_weight", float("inf")),
        ("value_weight", float("nan")),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        LossConfig(**{name: value})


# -- likelihoods ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_group_likelihoods_are_sums_over_real_targets_without_weights_and_smoothing(
    make_model: MakeModel, parameterization: str
) -> None:
    model = make_model(parameterization)
    generator = torch.Generator().manual_seed(1)
    tokens, mask = torch.rand(2, 15, generator=generator), torch.rand(2, 15, generator=generator) < 0.6
    distribution = model(tokens[:, :-1])
    log_prob = distribution.log_prob(tokens[:, 1:]).detach()
    found = group_likelihoods(distribution, tokens, mask, SPEC)
    assert list(found) == list(GROUPS)
    for name, dimensions in GROUPS.items():
        terms = [
            -float(log_prob[row, place - 1])
            for row in range(2)
            for place in range(1, 15)
            if mask[row, place] and place % D in dimensions
        ]
        total, count = found[name]
        assert int(count) == len(terms)
        assert total.item() == pytest.approx(sum(terms), rel=1e-5)
