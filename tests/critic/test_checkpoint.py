"""Checkpoints of critics: they come back whole, and are not taken for a model's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.editing import edited
from trajectory_adacat.checkpoint import checkpoint_name, load_model
from trajectory_adacat.critic.checkpoint import export_critic, load_critic, save_critic
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.errors import InputError

from .conftest import make_critic, make_episode, make_transitions

MODEL = Path(__file__).parents[1] / "fixtures" / "format1" / "adacat"
TRAINED: dict[str, Any] = {
    "step": 7,
    "discount": 0.5,
    "train_seed": 0,
    "dataset": {"name": "own", "label": "own.hdf5", "sha256": "a"},
    "training": {},
}


@pytest.fixture
def critic() -> Critic:
    """A critic with statistics of its own."""
    transitions, normalizer = make_transitions([make_episode([0, 1, 5], [1, 2, 3], True)])
    return make_critic(transitions, normalizer)


@pytest.fixture
def path(critic: Critic, tmp_path: Path) -> Path:
    """Its checkpoint."""
    bounds = {"low": [0.0, -1.0, 1.0, 0.1 + 0.2], "high": [5.0, 1.0, 3.0, 7.0]}
    folder = tmp_path / checkpoint_name(7)
    save_critic(folder, critic, {"target/x": torch.zeros(1)}, {**TRAINED, "normalizer": bounds})
    return folder


@pytest.mark.parametrize("find", [lambda path: path, lambda path: path.parent, str])
def test_a_loaded_critic_says_what_the_saved_one_did(critic: Critic, path: Path, find: Callable[[Path], Any]) -> None:
    loaded = load_critic(find(path))
    observations, actions = torch.randn(4, 1), torch.randn(4, 1)
    assert torch.equal(loaded.critic.q(observations, actions), critic.q(observations, actions))
    assert torch.equal(loaded.critic.value(observations), critic.value(observations))
    assert not loaded.critic.value(observations).requires_grad
    assert loaded.normalizer.low.tolist() == [0.0, -1.0, 1.0, 0.1 + 0.2]
    assert loaded.description["kind"] == "critic"
    assert loaded.description["dataset"]["label"] == "own.hdf5"
    assert len(loaded.hash) == 64


def test_an_exported_critic_says_what_the_checkpoint_does_up_to_half_precision(path: Path, tmp_path: Path) -> None:
    export_critic(path, tmp_path / "small", {"command": "critic"})
    export_critic(tmp_path / "small", tmp_path / "again")
    whole, small, again = (load_critic(folder) for folder in (path, tmp_path / "small", tmp_path / "again"))
    observations, actions = torch.randn(4, 1), torch.randn(4, 1)
    outputs = [loaded.critic.q(observations, actions) for loaded in (whole, small, again)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=5e-3, atol=5e-3)
    assert not torch.equal(outputs[1], outputs[0])
    assert torch.equal(outputs[2], outputs[1])
    assert next(small.critic.parameters()).dtype == torch.float32
    for name, buffer in whole.critic.named_buffers():
        assert torch.equal(small.critic.get_buffer(name), buffer)
    assert {file.name for file in (tmp_path / "small").iterdir()} == {"critic.safetensors", "checkpoint.json"}
    kept = {"training", "dataset", "normalizer", "step", "train_seed", "discount"}
    assert all(small.description[key] == whole.description[key] for key in kept)
    assert small.description["trained_with"]["versions"] == whole.description["versions"]
    assert small.description["command"] == again.description["command"] == "critic"


def test_a_model_is_not_exported_as_a_critic(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is that of a model, not of a critic"):
        export_critic(MODEL, tmp_path / "small")


def test_a_model_is_not_loaded_as_a_critic(path: Path) -> None:
    with pytest.raises(InputError, match=r"adacat is that of a model, not of a critic: .*trajectory-adacat critic"):
        load_critic(MODEL)


def test_a_critic_is_not_loaded_as_a_model(path: Path) -> None:
    with pytest.raises(InputError, match=r"is that of a critic, not of a model: .*trajectory-adacat train"):
        load_model(path)


def test_a_folder_without_a_critic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint .* name another critic"):
        load_critic(tmp_path)


@pytest.mark.parametrize("key", [*TRAINED, "normalizer"])
def test_a_description_without_its_training_is_refused(path: Path, key: str) -> None:
    with edited(path) as description:
        del description[key]
    with pytest.raises(InputError, match=f"lacks its '{key}'"):
        load_critic(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic": {"observation_size": 2, "action_size": 1}}, "does not fit this version's critic"),
        ({"critic": {"observation_size": 1}}, "lack 'action_size'"),
        ({"critic": None}, "does not fit this version's critic"),
        ({"normalizer": {"low": [0.0]}}, "does not fit this version's critic"),
        ({"normalizer": {"low": [0.0], "high": [0.0, 1.0]}}, "no normalizer with bounds"),
        ({"format": 99}, "format 99"),
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(path: Path, changes: dict[str, Any], message: str) -> None:
    with edited(path) as description:
        description.update(changes)
    with pytest.raises(InputError, match=message):
        load_critic(path)


def test_damaged_weights_are_refused_by_name(path: Path) -> None:
    weights = path / "critic.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"critic\.safetensors is damaged"):
        load_critic(path)
