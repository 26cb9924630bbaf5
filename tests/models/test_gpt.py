"""The transformer: what depends on what, with and without a cache, in training and in evaluation."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.kv_cache import KVCache
from trajectory_adacat.settings import build

MakeModel = Callable[..., GPT]
PARAMETERIZATIONS = ["adacat", "uniform", "quantile"]
D = 5  # two observed numbers, an action, a reward, a value
VALUE = 4
LENGTH = 3 * D - 1


def random_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def predictions(model: GPT, tokens: Tensor) -> Tensor:
    """Three quantiles of every prediction, ``[B, T, 3]``."""
    distribution = model(tokens)
    levels = [torch.full(tokens.shape, level) for level in (0.1, 0.5, 0.9)]
    return torch.stack([distribution.icdf(level) for level in levels], -1).detach()


def sees(query: int, key: int) -> bool:
    """Whether the prediction at one position may depend on the token at another; each one depends on its own."""
    return key == query or (key < query and key % D != VALUE)


@pytest.mark.parametrize("form", [{}, {"embedding": "per_dimension"}, {"positions": "rotary"}], ids=str)
def test_a_prediction_depends_on_the_earlier_tokens_but_the_values_and_on_no_others(
    make_model: MakeModel, form: dict[str, str]
) -> None:
    model = make_model(**form).double()
    tokens = random_tokens(1, LENGTH).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x).mean, tokens)[0, :, 0]
    depends = (jacobian != 0).tolist()
    expected = [[sees(query, key) for key in range(LENGTH)] for query in range(LENGTH)]
    assert depends == expected


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_another_value_token_changes_the_prediction_at_its_own_place_and_no_other(
    make_model: MakeModel, parameterization: str
) -> None:
    model, tokens = make_model(parameterization), random_tokens(1, LENGTH)
    before = predictions(model, tokens)
    tokens[0, D + VALUE] = (tokens[0, D + VALUE] + 0.5) % 1.0
    changed = (predictions(model, tokens) != before).any(-1)[0].nonzero().flatten()
    assert changed.tolist() == [D + VALUE]


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("place", [0, 1, 2, 3, D, D + 3])
def test_another_token_changes_no_earlier_prediction_and_all_later_ones(
    make_model: MakeModel, parameterization: str, place: int
) -> None:
    model, tokens = make_model(parameterization), random_tokens(1, LENGTH)
    before = predictions(model, tokens)
    tokens[0, place] = (tokens[0, place] + 0.5) % 1.0
    changed = (predictions(model, tokens) != before).any(-1)[0]
    assert changed.tolist() == [position >= place for position in range(LENGTH)]


def test_rows_of_a_batch_do_not_mix(make_model: MakeModel) -> None:
    model, tokens = make_model(), random_tokens(3, LENGTH)
    torch.testing.assert_close(predictions(model, tokens)[1], predictions(model, tokens[1:2])[0])


def test_a_prefix_is_predicted_as_the_whole(make_model: MakeModel) -> None:
    model, tokens = make_model(), random_tokens(2, LENGTH)
    torch.testing.assert_close(predictions(model, tokens[:, :7]), predictions(model, tokens)[:, :7])


def test_equal_transitions_are_told_apart_by_their_positions(make_model: MakeModel) -> None:
    tokens = random_tokens(1, D).repeat(1, 3)[:, :LENGTH]
    model, blind = make_model(n_layer=1), make_model(n_layer=1)
    with torch.no_grad():
        blind.positions.weight.zero_()
    # Without positions, attention over copies of one transition gives what attention over the transition gives.
    torch.testing.assert_close(predictions(blind, tokens)[:, 2 * D - 2], predictions(blind, tokens)[:, D - 2])
    assert not torch.allclose(predictions(model, tokens)[:, 2 * D - 2], predictions(model, tokens)[:, D - 2])


def test_each_head_has_the_width_n_embd() -> None:
    config = GPTConfig(11, 3, n_head=4, n_embd=32)
    assert config.width == 128
    assert config.block_size == 10 * 16 - 1
    count = sum(parameter.numel() for parameter in GPT(config).parameters())
    # Four blocks of 12 w^2 + 13 w, the last norm, the positions, the scalar's embedding and 16 matrices of 2 * 50.
    assert count == 4 * (12 * 128**2 + 13 * 128) + 2 * 128 + 159 * 128 + 2 * 128 + 16 * 128 * 100


def test_more_tokens_than_the_model_was_built_for_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match="15 tokens do not fit a model of 14"):
        make_model()(random_tokens(1, LENGTH + 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_transitions", 0),
        ("n_layer", 0),
        ("n_head", -1),
        ("n_embd", 0),
        ("n_bins", 0),
        ("observation_size", 0),
        ("action_size", -1),
        ("embd_pdrop", 1.0),
        ("attn_pdrop", -0.1),
        ("resid_pdrop", float("nan")),
        ("parameterization", "gaussian"),
        ("embedding", "sinusoidal"),
        ("smooth_coeff", -0.1),
        ("smooth_coeff", float("nan")),
        ("smooth_type", "gaussian"),
        ("positions", "sinusoidal"),
        ("head_init", "zeros"),
        ("offset_init", "uniform"),
    ],
)
def test_a_form_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        build(GPTConfig, {"observation_size": 2, "action_size": 1, name: value}).spec  # noqa: B018


# -- initial weights -----------------------------------------------------------------------------------------


def new_model(**changes: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(build(GPTConfig, {"observation_size": 11, "action_size": 3, **changes}))


@pytest.mark.parametrize("form", [{}, {"embedding": "per_dimension", "positions": "rotary"}], ids=str)
def test_positions_and_the_scalars_offset_start_at_zero(form: dict[str, str]) -> None:
    model = new_model(**form)
    assert not model.positions.weight.any()
    assert not model.embedding.get_parameter("bias").any()


def test_positions_and_offsets_may_start_normal() -> None:
    model = new_model(offset_init="normal", embedding="per_dimension")
    for offset in (model.positions.weight, model.embedding.get_parameter("bias")):
        assert float(offset.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not new_model(offset_init="normal", parameterization="uniform").blocks.get_parameter("0.expand.bias").any()


@pytest.mark.parametrize("parameterization", [*PARAMETERIZATIONS, "logistic_mixture"])
def test_embedding_and_linear_layers_start_normal_and_without_bias(parameterization: str) -> None:
    model = new_model(parameterization=parameterization, n_embd=64)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert len(linear) == 4 * 4
    weights = [model.embedding.get_parameter("weight"), *(module.weight for module in linear.values())]
    for weight in (parameter.detach() for parameter in weights):
        assert float(weight.std()) == pytest.approx(0.02, rel=0.15)
        assert abs(float(weight.mean())) < 0.005
        assert float(weight.abs().max()) > 2 * 0.02  # a uniform one would end at 1.7 of its standard deviations
    assert not any(module.bias.any() for module in linear.values())


@pytest.mark.parametrize("parameterization", [*PARAMETERIZATIONS, "logistic_mixture"])
def test_the_head_starts_normal_or_uniform(parameterization: str) -> None:
    """Uniform weights lie within 1 / sqrt(E) for the width E of the model: 128."""
    normal, uniform = (
        new_model(parameterization=parameterization, head_init=init).head.weight.detach()
        for init in ("normal", "uniform")
    )
    assert float(normal.std()) == pytest.approx(0.02, rel=0.02)
    assert float(normal.abs().max()) > 3 * 0.02
    bound = 128**-0.5
    assert float(uniform.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert 0.999 * bound < float(uniform.abs().max()) <= bound


def test_the_first_gradient_reaches_positions_offset_and_embedding() -> None:
    """At first the tokens look alike, since the first norm leaves only the sign of a scalar times a vector."""
    model = new_model(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
    tokens = random_tokens(4, model.config.block_size + 1)
    model.head.loss(model(tokens[:, :-1]), tokens[:, 1:]).mean().backward()
    for parameter in (model.positions.weight, *model.embedding.parameters()):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert float(parameter.grad.abs().max()) > 0.0


# -- dropout -------------------------------------------------------------------------------------------------

NO_DROPOUT = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}


@pytest.mark.parametrize("name", list(NO_DROPOUT))
def test_each_dropout_acts_in_training_alone(make_model: MakeModel, name: str) -> None:
    model, tokens = make_model(**{**NO_DROPOUT, name: 0.5}), random_tokens(2, LENGTH)
    assert torch.equal(predictions(model, tokens), predictions(model, tokens))
    without = make_model(**NO_DROPOUT)
    assert torch.equal(predictions(model, tokens), predictions(without, tokens))
    model.train()
    assert not torch.equal(predictions(model, tokens), predictions(model, tokens))


@pytest.mark.parametrize("silenced", ["attention.project", "contract"])
def test_both_branches_of_a_block_have_dropout(make_model: MakeModel, silenced: str) -> None:
    """With one branch silenced, the other one's dropout still shows."""
    model, tokens = make_model(**{**NO_DROPOUT, "resid_pdrop": 0.5}).train(), random_tokens(2, LENGTH)
    with torch.no_grad():
        for block in model.blocks:
            for parameter in block.get_submodule(silenced).parameters():
                parameter.zero_()
    assert not torch.equal(predictions(model, tokens), predictions(model, tokens))


def test_without_dropout_training_predicts_as_evaluation_does(make_model: MakeModel) -> None:
    model, tokens = make_model(**NO_DROPOUT), random_tokens(2, LENGTH)
    expected = predictions(model, tokens)
    torch.testing.assert_close(predictions(model.train(), tokens), expected)


# -- cached decoding -----------------------------------------------------------------------------------------


def decode_in_pieces(model: GPT, tokens: Tensor, cuts: list[int]) -> list[tuple[int, Tensor]]:
    """The model's outputs ``[B, E]`` at the last token of each piece, and where that stands."""
    cache = model.new_cache(len(tokens), 1, model.config.block_size)
    bounds = [0, *cuts, tokens.shape[1]]
    return [
        (stop - 1, model.decode(tokens[:, None, start:stop], start, [], cache)[:, 0])
        for start, stop in itertools.pairwise(bounds)
    ]


@pytest.mark.parametrize(
    "form", [*({"parameterization": p} for p in PARAMETERIZATIONS), {"positions": "rotary"}], ids=str
)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, LENGTH - 1)))
def test_decoding_in_pieces_of_any_length_equals_the_forward_pass(
    make_model: MakeModel, form: dict[str, str], cuts: set[int]
) -> None:
    model, tokens = make_model(**form), random_tokens(2, LENGTH)
    with torch.no_grad():
        whole = model.hidden(tokens)
        for place, hidden in decode_in_pieces(model, tokens, sorted(cuts)):
            torch.testing.assert_close(hidden, whole[:, place], atol=1e-5, rtol=1e-5)


def test_decoding_token_by_token_gives_the_forward_passs_distributions(make_model: MakeModel) -> None:
    model, tokens = make_model(), random_tokens(2, LENGTH)
    with torch.no_grad():
        whole = model(tokens).mean
        for place, hidden in decode_in_pieces(model, tokens, list(range(1, LENGTH))):
            mean = model.head.distribution_of(hidden, (place + 1) % D).mean
            torch.testing.assert_close(mean, whole[:, place], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n_shared", [2, D, D + 2, 2 * D])
def test_rows_that_share_a_past_decode_as_rows_that_hold_it(make_model: MakeModel, n_shared: int) -> None:
    """One past for each environment, one for each pair of its four rows, then tokens of each row's own."""
    model, n_rows = make_model(), 4
    past = random_tokens(2, 1, n_shared)
    middle = random_tokens(2, 2, 2, seed=1)
    own = random_tokens(2, n_rows, 2, seed=2)
    with torch.no_grad():
        shared, pairs = (model.new_cache(2, rows, model.config.block_size) for rows in (1, 2))
        model.decode(past, 0, [], shared)
        model.decode(middle, n_shared, [shared], pairs)
        rows = model.new_cache(2, n_rows, 2)
        for i in range(2):
            hidden = model.decode(own[..., i : i + 1], n_shared + 2 + i, [shared, pairs], rows)
        whole = torch.cat([past.expand(-1, n_rows, -1), middle.repeat_interleave(2, 1), own], -1)
        expected = model.hidden(whole.flatten(0, 1))[:, -1].view_as(hidden)
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def test_decoding_leaves_the_caches_that_are_shared_as_they_were(make_model: MakeModel) -> None:
    model = make_model()
    shared, rows = model.new_cache(1, 1, 8), model.new_cache(1, 2, 8)
    with torch.no_grad():
        model.decode(random_tokens(1, 1, 3), 0, [], shared)
        before = [(shared.keys(i).clone(), shared.values(i).clone()) for i in range(2)]
        model.decode(random_tokens(1, 2, 1), 3, [shared], rows)
    assert_same(shared, before)
    assert rows.length == 1


def assert_same(cache: KVCache, expected: list[tuple[Tensor, Tensor]]) -> None:
    for layer, (keys, values) in enumerate(expected):
        assert torch.equal(cache.keys(layer), keys)
        assert torch.equal(cache.values(layer), values)


def test_a_token_beyond_the_block_is_refused(make_model: MakeModel) -> None:
    model = make_model()
    with pytest.raises(IndexError), torch.no_grad():
        model.decode(random_tokens(1, 1, 1), LENGTH, [], model.new_cache(1, 1, LENGTH + 1))
