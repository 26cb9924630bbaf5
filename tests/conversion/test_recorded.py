"""Folders that both codebases wrote themselves: the converted models give the outputs that their code recorded."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trajectory_adacat.conversion.convert import Converted, convert
from trajectory_adacat.conversion.folder import read_folder
from trajectory_adacat.conversion.rows import joined_rows, quantile_thresholds
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.distributions import TruncatedUniform
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.planning.beam_search import beam_search, uniforms_shape
from trajectory_adacat.planning.decoding import CachedDecoder, WindowConfig
from trajectory_adacat.planning.scoring import ValueTokens
from trajectory_adacat.planning.search_config import BeamSearchConfig

FOLDERS = [parent / "shared" / "ancestors" for parent in Path(__file__).parents[2:]]
FOLDER = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[1])
TOKENS = ("tt-quantile", "tt-variant", "adacat-tokens")
SCALARS = ("adacat", "adacat-noema")
AVERAGED = ("adacat", "adacat-tokens")
ROUNDING = {"rtol": 1e-5, "atol": 2e-6}
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the folder ../shared/ancestors")

ALL = pytest.mark.parametrize("name", TOKENS + SCALARS)
OF_TOKENS = pytest.mark.parametrize("name", TOKENS)
OF_SCALARS = pytest.mark.parametrize("name", SCALARS)


@cache
def converted(name: str) -> Converted:
    return convert(read_folder(FOLDER / name), load_dataset("hopper-medium-v2", FOLDER / "data.hdf5"))


@cache
def recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name / "expected.npz") as file:
        return dict(file)


def models(name: str) -> list[tuple[str, GPT]]:
    """Return the models, each with the prefix of its outputs."""
    found = converted(name)
    return [("", found.model)] + ([("ema_", found.average)] if name in AVERAGED else [])


def tokens_of(name: str, raw: np.ndarray) -> Tensor:
    return converted(name).normalizer.normalize(torch.from_numpy(raw))


def bins(name: str, raw: np.ndarray) -> Tensor:
    """Return the bins whose embeddings the model reads for ``raw [..., D]``."""
    embedding = converted(name).model.embedding
    embedded = embedding(tokens_of(name, raw), torch.arange(raw.shape[-1]))  # [..., D, E]
    rows = embedding.weight.unflatten(0, (raw.shape[-1], -1))  # [D, N, E]
    return torch.cdist(embedded.unsqueeze(-2), rows).squeeze(-2).argmin(-1)


@torch.inference_mode()
def distribution(model: GPT, tokens: Tensor) -> Any:
    return model.head.distribution(model.hidden(tokens))


def inputs(name: str) -> Tensor:
    return tokens_of(name, recorded(name)["raw"]).flatten(1)[:, :-1]


def assert_close(found: Tensor, expected: np.ndarray, **tolerances: float) -> None:
    np.testing.assert_allclose(found.numpy(), expected, **{**ROUNDING, **tolerances})


@OF_TOKENS
def test_thresholds(name: str) -> None:
    data = read_folder(FOLDER / name).data
    rows = joined_rows(FOLDER / "data.hdf5", 11, data["discount"], data["penalty"])
    assert_close(quantile_thresholds(rows.transitions, data["N"]), recorded(name)["thresholds"], rtol=1e-12, atol=1e-12)


@OF_SCALARS
def test_bounds(name: str) -> None:
    normalizer = converted(name).normalizer
    assert_close(normalizer.low.float(), recorded(name)["mins"], rtol=0, atol=0)
    assert_close(normalizer.high.float(), recorded(name)["maxs"], rtol=0, atol=0)


@OF_TOKENS
@pytest.mark.parametrize(("rows", "expected"), [("raw", "tokens_before_stop"), ("outside_raw", "outside_tokens")])
def test_tokens(name: str, rows: str, expected: str) -> None:
    np.testing.assert_array_equal(bins(name, recorded(name)[rows]), recorded(name)[expected])


@OF_SCALARS
@pytest.mark.parametrize(("rows", "expected"), [("raw", "normalized"), ("outside_raw", "outside_normalized")])
def test_normalized_numbers(name: str, rows: str, expected: str) -> None:
    assert_close(tokens_of(name, recorded(name)[rows]), recorded(name)[expected].clip(0, 1))


@OF_TOKENS
def test_logits_without_that_of_the_stop_token(name: str) -> None:
    for prefix, model in models(name):
        found = distribution(model, inputs(name))
        assert_close(found.logits, recorded(name)[f"{prefix}logits"][..., :-1])


@OF_SCALARS
def test_outputs_of_adacat(name: str) -> None:
    coefficient = converted(name).config.model.head.smooth_coeff
    for prefix, model in models(name):
        found = distribution(model, inputs(name))
        expected = {key: recorded(name)[f"{prefix}{key}"] for key in ("params", "mean", "log_prob", "cdf")}
        targets = torch.from_numpy(recorded(name)["targets"])
        assert_close(torch.cat([found.width_logits, found.mass_logits], -1), expected["params"])
        assert_close(found.mean, expected["mean"])
        assert_close(found.log_prob(targets), expected["log_prob"], atol=1e-4)
        assert_close(found.cdf(targets), expected["cdf"], atol=1e-5)
        smoothed = found.smoothed_log_prob(TruncatedUniform(targets, coefficient))
        assert_close(smoothed, recorded(name)[f"{prefix}smoothed_log_prob"], atol=1e-3)


@ALL
def test_estimates_of_the_last_reward_and_value(name: str) -> None:
    normalizer, spec = converted(name).normalizer, converted(name).model.spec
    for prefix, model in models(name):
        means = distribution(model, inputs(name)).mean
        kept = np.ones(means.shape)
        if name in TOKENS:  # the stop token's probability is missing from their estimates
            kept = 1 - torch.from_numpy(recorded(name)[f"{prefix}logits"]).softmax(-1)[..., -1].numpy()
        for column, key, dimension in ((-2, "reward", spec.reward), (-1, "value", spec.value)):
            found = normalizer.denormalize(means[:, column], dimension) * kept[:, column]
            assert_close(found, recorded(name)[f"{prefix}{key}_estimate"], rtol=1e-4, atol=1e-3)


@ALL
def test_outputs_for_a_planners_input(name: str) -> None:
    history = recorded(name)["plan_history"]
    unknown_values = np.full((len(history), 1), 1e6)
    past = tokens_of(name, np.concatenate([history, unknown_values], 1)).flatten()
    now = np.append(recorded(name)["plan_observation"], np.zeros(5))
    context = torch.cat([past, tokens_of(name, now)[:11]])[None]
    key = "plan_logits" if name in TOKENS else "plan_params"
    for prefix, model in models(name):
        found = distribution(model, context)
        if name in TOKENS:
            assert_close(found.logits, recorded(name)[prefix + key][..., :-1])
        else:
            assert_close(torch.cat([found.width_logits, found.mass_logits], -1), recorded(name)[prefix + key])
            assert_close(found.mean, recorded(name)[f"{prefix}plan_mean"])


@OF_TOKENS
def test_greedy_search(name: str) -> None:
    found, expected = converted(name), recorded(name)
    history = np.concatenate([expected["plan_history"], np.zeros((len(expected["plan_history"]), 1))], 1)
    now = np.append(expected["plan_observation"], np.zeros(5))
    context = torch.cat([tokens_of(name, history).flatten(), tokens_of(name, now)[:11]])[None]
    search = BeamSearchConfig(
        discount=0.99,
        horizon=3,
        beam_width=2,
        n_expand=1,
        k_obs=1,
        k_act=1,
        k_rew=1,
        cdf_obs=0,
        cdf_act=0,
        sampling="midpoint",
    )
    window = WindowConfig(max_context_transitions=min(5, found.model.config.n_transitions))
    uniforms = torch.rand(1, *uniforms_shape(found.model.spec, search))
    prefixes = {prefix for prefix in ("", "ema_") if f"{prefix}greedy_reconstructed" in expected}
    assert prefixes
    for prefix, model in models(name):
        if prefix not in prefixes:
            continue
        decoder = CachedDecoder(model, context, window)
        plan = beam_search(decoder, model.spec, search, found.normalizer, uniforms, ValueTokens())
        rows = torch.from_numpy(expected[f"{prefix}greedy_reconstructed"])
        spec, units = model.spec, found.normalizer.denormalize
        assert_close(units(plan.actions[0], spec.action), rows[:, spec.action].numpy(), atol=1e-4)
        assert_close(units(plan.observations[0], spec.observation), rows[1:, spec.observation].numpy(), atol=1e-4)


@ALL
def test_the_right_dataset_is_predicted_better_than_by_equal_logits(name: str) -> None:
    assert converted(name).gain > 0.1


def test_weights_tagged_for_a_gpu_are_read(tmp_path: Path) -> None:
    for name in ("args.json", "data_config.pkl", "model_config.pkl", "trainer_config.pkl"):
        shutil.copy(FOLDER / "adacat" / name, tmp_path)
    shutil.copy(FOLDER / "cuda-tagged" / "state_1.pt", tmp_path)
    tagged, plain = read_folder(tmp_path), read_folder(FOLDER / "adacat")
    assert tagged.average is not None and plain.average is not None
    for key, value in plain.average.items():
        torch.testing.assert_close(tagged.average[key], value, rtol=0, atol=0)
