"""A policy extracted from a critic follows the actions that the critic prefers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.advantages import split_of, to_transitions
from benchmarks.baselines import evaluate, extract
from benchmarks.baselines.networks import ACTOR, Actor
from trajectory_adacat.critic.checkpoint import load_critic
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import critic

from .conftest import COLLECTED


@pytest.fixture
def trained(collected_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tiny critic."""
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(collected_home))
    flags = ["--dataset", COLLECTED, "--logbase", str(tmp_path), "--hidden_size", "8", "--n_steps", "2"]
    critic.main([*flags, "--batch_size", "8", "--verbose", "false"])
    return tmp_path / COLLECTED / "critic" / "iql_0"


def run(trained: Path, *flags: str) -> Path:
    root = trained.parents[2]
    extract.main(["--critic", str(trained), "--logbase", str(root), "--n_steps", "4", *flags])
    return root / COLLECTED / "baselines" / "critic-awr_0"


def test_the_extracted_policy_is_rolled_out_like_a_baseline(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(trained)
    assert Actor.load(folder / ACTOR).network.sizes == (11, 3)
    evaluate.main(["--baseline", str(folder), "--n_rollouts", "1"])
    assert "mean return" in capsys.readouterr().out


def test_an_earlier_extraction_is_kept_unless_overwritten(trained: Path) -> None:
    first = (run(trained) / ACTOR).read_bytes()
    with pytest.raises(InputError, match="holds an earlier extraction"):
        run(trained)
    assert (run(trained, "--n_steps", "5", "--overwrite") / ACTOR).read_bytes() != first


def test_weights_grow_with_the_advantage_up_to_a_limit(trained: Path) -> None:
    loaded = load_critic(trained)
    transitions = to_transitions(loaded, split_of(loaded)[0])
    observations, actions = transitions.observations, transitions.actions
    with torch.no_grad():
        advantages = loaded.critic.q(observations, actions).amin(0) - loaded.critic.value(observations)
    weights = extract.weights_of(loaded.critic, transitions, 0.5)
    expected = np.minimum(np.exp(0.5 * advantages.double().numpy()), 100.0)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-3)


def test_the_actor_follows_the_weighted_actions(trained: Path) -> None:
    loaded = load_critic(trained)
    transitions = to_transitions(loaded, split_of(loaded)[0])
    high = transitions.actions[:, 0] > transitions.actions[:, 0].median()

    def mean_action(weights: torch.Tensor) -> float:
        torch.manual_seed(0)
        actor = extract.fit(loaded.critic, transitions, weights, 100)
        with torch.no_grad():
            observations = loaded.critic.encode_observations(transitions.observations)
            return float(actor.mean(observations).tanh()[:, 0].mean())

    assert mean_action(high.float()) > mean_action((~high).float()) + 0.1
