"""Actors from npz files and from zip files of Stable-Baselines3: their actions, and what is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.datasets.sb3_zips import Touch, ppo_weights, sac_weights, td3_weights, write_zip
from trajectory_adacat.datasets.policies import SquashedGaussianPolicy
from trajectory_adacat.datasets.policy_files import fingerprint, policy_sizes, read_policy, write_policy
from trajectory_adacat.errors import InputError

OBSERVATION = np.random.default_rng(0).standard_normal(11)


def forward(weights: dict[str, Tensor], layers: list[str], activation: str) -> Tensor:
    """Torch's result of some layers on the observation, with the activation after each."""
    x = torch.as_tensor(OBSERVATION, dtype=torch.float32)
    for name in layers:
        x = getattr(torch, activation)(functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]))
    return x


def output(weights: dict[str, Tensor], name: str, hidden: Tensor) -> np.ndarray:
    return functional.linear(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"]).numpy()


@pytest.mark.parametrize("hidden", [(8,), (8, 6), (8, 6, 5)])
def test_a_sac_agent_acts_as_torch_computes(tmp_path: Path, hidden: tuple[int, ...]) -> None:
    weights = sac_weights(hidden=hidden)
    read = read_policy(write_zip(tmp_path / "agent.zip", weights))
    latent = forward(weights, [f"actor.latent_pi.{2 * i}" for i in range(len(hidden))], "relu")
    mean, log_std = output(weights, "actor.mu", latent), output(weights, "actor.log_std", latent)
    np.testing.assert_allclose(read.actor.mode(OBSERVATION), np.tanh(mean), atol=1e-6)
    action, log_prob = read.actor.act(OBSERVATION, np.random.default_rng(3))
    raw = mean + np.exp(log_std) * np.random.default_rng(3).standard_normal(3)
    np.testing.assert_allclose(action, np.tanh(raw), atol=1e-6)
    normal = torch.distributions.Normal(torch.as_tensor(mean), torch.as_tensor(np.exp(log_std)))
    squashed = torch.distributions.TransformedDistribution(normal, torch.distributions.TanhTransform())
    expected = squashed.log_prob(torch.as_tensor(np.tanh(raw), dtype=torch.float32)).sum()
    assert log_prob == pytest.approx(float(expected), abs=1e-3)
    assert not read.deterministic


def test_a_td3_agent_acts_as_torch_computes(tmp_path: Path) -> None:
    weights = td3_weights()
    read = read_policy(write_zip(tmp_path / "agent.zip", weights))
    expected = np.tanh(output(weights, "actor.mu.4", forward(weights, ["actor.mu.0", "actor.mu.2"], "relu")))
    np.testing.assert_allclose(read.actor.mode(OBSERVATION), expected, atol=1e-6)
    assert read.deterministic
    assert read.algorithm == "TD3"


@pytest.mark.parametrize("activation", ["Tanh", "ReLU"])
def test_a_ppo_agent_acts_as_torch_computes(tmp_path: Path, activation: str) -> None:
    weights = ppo_weights()
    weights["action_net.bias"] += 0.9  # so that some actions are clipped
    named = {"policy_kwargs": {"activation_fn": f"<class 'torch.nn.modules.activation.{activation}'>"}}
    read = read_policy(write_zip(tmp_path / "agent.zip", weights, named))
    layers = ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2"]
    mean = output(weights, "action_net", forward(weights, layers, activation.lower()))
    np.testing.assert_allclose(read.actor.mode(OBSERVATION), np.clip(mean, -1, 1), atol=1e-6)
    action, log_prob = read.actor.act(OBSERVATION, np.random.default_rng(3))
    sampled = mean + np.exp([-2, -1.5, -1]) * np.random.default_rng(3).standard_normal(3)
    np.testing.assert_allclose(action, np.clip(sampled, -1, 1), atol=1e-6)
    assert np.isnan(log_prob)  # clipped actions have no density


@pytest.mark.parametrize(("weights", "expected"), [(sac_weights(), "relu"), (ppo_weights(), "tanh")])
def test_the_default_activation_is_said_to_be_assumed(tmp_path: Path, weights: dict, expected: str) -> None:
    notes = read_policy(write_zip(tmp_path / "agent.zip", weights)).notes
    assert any("assumed" in note and expected in note for note in notes)
    assert any("VecNormalize" in note for note in notes)


def test_an_npz_acts_as_the_zip_it_was_made_from(tmp_path: Path) -> None:
    zipped = read_policy(write_zip(tmp_path / "agent.zip", sac_weights())).actor
    write_policy(zipped.weights, tmp_path / "agent.npz")
    read = read_policy(tmp_path / "agent.npz").actor
    np.testing.assert_array_equal(read.mode(OBSERVATION), zipped.mode(OBSERVATION))
    assert isinstance(read, SquashedGaussianPolicy)
    assert policy_sizes(read) == policy_sizes(zipped) == (11, 3)
    assert fingerprint(read) == fingerprint(zipped)


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    actors = [read_policy(write_zip(tmp_path / "agent.zip", sac_weights(seed=seed))).actor for seed in (0, 1)]
    assert fingerprint(actors[0]) != fingerprint(actors[1])


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    read_policy(write_zip(tmp_path / "agent.zip", sac_weights(), {"policy_kwargs": {":serialized:": "gASV"}}))
    with pytest.raises(InputError, match="cannot be read as an agent"):
        read_policy(write_zip(tmp_path / "evil.zip", Touch(tmp_path / "opened")))
    assert not (tmp_path / "opened").exists()


def test_statistics_normalize_the_observations(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "agent.zip", sac_weights())
    mean, variance = np.arange(11.0), np.linspace(0.5, 2, 11)
    np.savez(tmp_path / "statistics.npz", mean=mean, var=variance, clip=0.5)
    normalized = read_policy(path, tmp_path / "statistics.npz")
    scaled = np.clip((OBSERVATION - mean) / np.sqrt(variance + 1e-8), -0.5, 0.5)
    np.testing.assert_allclose(normalized.actor.mode(OBSERVATION), read_policy(path).actor.mode(scaled), atol=1e-6)
    assert not any("VecNormalize" in note for note in normalized.notes)


@pytest.mark.parametrize("place", ["vecnormalize.pkl", "agent/vecnormalize.pkl"])
def test_a_normalized_agent_needs_its_statistics(tmp_path: Path, place: str) -> None:
    path = write_zip(tmp_path / "agent.zip", sac_weights())
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"VecNormalize.*--observation_statistics"):
        read_policy(path)
    np.savez(tmp_path / "statistics.npz", mean=np.zeros(11), var=np.ones(11))
    assert policy_sizes(read_policy(path, tmp_path / "statistics.npz").actor) == (11, 3)


def test_statistics_of_other_observations_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "statistics.npz", mean=np.zeros(17), var=np.ones(17))
    with pytest.raises(InputError, match="needs mean: 11 finite numbers"):
        read_policy(write_zip(tmp_path / "agent.zip", sac_weights()), tmp_path / "statistics.npz")
    with pytest.raises(InputError, match=r"no file .*missing\.npz"):
        read_policy(tmp_path / "agent.zip", tmp_path / "missing.npz")


@pytest.mark.parametrize(
    ("weights", "data", "message"),
    [
        (sac_weights(), {"use_sde": True}, "use_sde"),
        (sac_weights(), {"policy_kwargs": {"activation_fn": "<class 'torch.nn.modules.activation.ELU'>"}}, "ELU"),
        ({"q_net.q_net.0.weight": torch.zeros(2, 2)}, {}, "does not hold the actor of SAC, TQC, TD3 or PPO"),
        (sac_weights() | {"actor.features_extractor.cnn.0.weight": torch.zeros(2)}, {}, "features_extractor.cnn"),
        (ppo_weights() | {"mlp_extractor.shared_net.0.weight": torch.zeros(2, 2)}, {}, "shared_net"),
        (sac_weights() | {"actor.mu.bias": torch.full((3,), torch.nan)}, {}, "mean.bias is not an array of finite"),
        (sac_weights() | {"actor.mu.weight": torch.zeros(3, 5)}, {}, "does not fit the layers"),
        ([torch.zeros(2)], {}, "holds no weights by name"),
    ],
)
def test_other_agents_are_refused(tmp_path: Path, weights: dict, data: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_policy(write_zip(tmp_path / "agent.zip", weights, data))


def test_files_that_are_no_policies_are_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.txt").write_text("no policy")
    (tmp_path / "damaged.zip").write_bytes(b"PK\x03\x04 cut short")
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 cut short")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as file:
        file.writestr("data", "{}")
    for name, message in {
        "missing.zip": "There is no policy file",
        "policy.txt": "give an .npz file, or the .zip",
        "damaged.zip": "cannot be read as an agent",
        "damaged.npz": "cannot be read as npz",
        "other.npz": "it needs hidden_0",
        "empty.zip": "lacks policy.pth",
    }.items():
        with pytest.raises(InputError, match=message):
            read_policy(tmp_path / name)


def test_weights_of_a_gpu_training_are_read_without_one(tmp_path: Path) -> None:
    """Torch stores the device by name: a file of CUDA tensors is made here by changing that name."""
    path = write_zip(tmp_path / "agent.zip", sac_weights())
    with zipfile.ZipFile(path) as file:
        state = file.read("policy.pth")
    moved = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(state)) as old, zipfile.ZipFile(moved, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    with zipfile.ZipFile(tmp_path / "cuda.zip", "w") as file:
        file.writestr("policy.pth", moved.getvalue())
    expected, read = read_policy(path).actor, read_policy(tmp_path / "cuda.zip").actor
    np.testing.assert_array_equal(read.mode(OBSERVATION), expected.mode(OBSERVATION))
