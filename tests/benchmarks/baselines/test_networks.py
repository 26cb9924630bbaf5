"""Networks of the baselines: what they compute, and that damaged files are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.baselines.networks import ActionValues, Actor, Layer, Network
from trajectory_adacat.errors import InputError

from .conftest import random_network


def in_torch(network: Network, inputs: np.ndarray) -> np.ndarray:
    outputs = torch.from_numpy(inputs)
    for i, (weight, bias) in enumerate(network.layers):
        outputs = torch.nn.functional.linear(
            outputs.relu() if i else outputs, torch.tensor(weight.T), torch.tensor(bias)
        )
    return outputs.numpy()


def test_a_network_computes_what_torch_does() -> None:
    inputs = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    network = random_network(4, 2)
    np.testing.assert_allclose(network(inputs), in_torch(network, inputs), rtol=1e-5, atol=1e-5)


def test_an_actor_comes_back_from_its_file(tmp_path: Path) -> None:
    actor = Actor(random_network(4, 2))
    actor.save(tmp_path / "actor.npz")
    observations = np.random.default_rng(1).normal(size=(7, 4))
    actions = Actor.load(tmp_path / "actor.npz").act(observations)
    np.testing.assert_array_equal(actions, np.tanh(actor.network(observations)))
    with np.load(tmp_path / "actor.npz") as arrays:
        assert set(arrays) == {
            f"{name}.{part}" for name in ("hidden_0", "hidden_1", "mean") for part in ("weight", "bias")
        }
        assert arrays["hidden_0.weight"].shape == (4, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["actor.npz"]


@pytest.mark.parametrize("with_value", [True, False])
def test_q_is_the_mean_of_the_ensemble(tmp_path: Path, with_value: bool) -> None:
    networks = [random_network(6, 1, seed) for seed in range(2)]
    value = random_network(4, 1) if with_value else None
    ActionValues(networks, value).save(tmp_path / "critic.npz")
    loaded = ActionValues.load(tmp_path / "critic.npz")
    rng = np.random.default_rng(1)
    observations, actions = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    first, second = (network(np.concatenate([observations, actions], 1))[:, 0] for network in networks)
    np.testing.assert_allclose(loaded.q(observations, actions), (first + second) / 2, rtol=1e-6)
    found = loaded.value(observations)
    assert (found is None) if value is None else np.array_equal(found, value(observations)[:, 0])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*actor.npz"):
        Actor.load(tmp_path / "actor.npz")


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "actor.npz"
    Actor(random_network(4, 2)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(InputError, match="not a complete npz file"):
        Actor.load(path)


def test_flipped_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "actor.npz"
    Actor(random_network(4, 2)).save(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a complete npz file"):
        Actor.load(path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "actor.npz"
    np.savez(path, **{"mean.weight": np.array([{}], dtype=object)})
    with pytest.raises(InputError, match="not a complete npz file"):
        Actor.load(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mean.bias": None}, "'mean.bias' is missing"),
        ({"hidden_0.weight": np.zeros((4, 6), np.float32)}, "do not fit"),
        ({"mean.weight": np.full((5, 2), np.nan, np.float32)}, "not finite"),
        ({"mean.weight": np.full((5, 2), "x")}, "not numbers"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    tmp_path: Path, changed: dict[str, np.ndarray | None], message: str
) -> None:
    arrays = {**random_network(4, 2).arrays("", "mean"), **changed}
    np.savez(tmp_path / "actor.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match=message):
        Actor.load(tmp_path / "actor.npz")


def test_q_networks_are_required(tmp_path: Path) -> None:
    np.savez(tmp_path / "critic.npz", **random_network(4, 1).arrays("v.", "output"))
    with pytest.raises(InputError, match="no Q networks"):
        ActionValues.load(tmp_path / "critic.npz")


def test_a_network_needs_layers() -> None:
    with pytest.raises(InputError, match="no layers"):
        Network([])
    with pytest.raises(InputError, match="do not fit"):
        Network([Layer(np.zeros(3), np.zeros(3))])
