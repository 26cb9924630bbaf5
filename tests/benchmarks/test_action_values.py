"""Predicted action values are the search's; simulations start in the recorded states; both are compared by rank."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from benchmarks import action_values
from benchmarks.action_values import Simulator, State, compare, predict, rank_correlation, read_states
from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.datasets.collected import collect, collected_path
from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.beam_search import beam_search
from trajectory_adacat.planning.decoding import CachedDecoder, WindowConfig
from trajectory_adacat.planning.planner import PlannerConfig
from trajectory_adacat.planning.scoring import ValueTokens
from trajectory_adacat.planning.search_config import BeamSearchConfig

MakeTraining = Callable[..., Path]
COLLECTED = "hopper-medium-collected"
SMALL = ["--n_states", "2", "--n_actions", "3", "--n_simulations", "2"]


def test_the_table_has_the_comparison(make_training: MakeTraining, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--checkpoint", str(make_training()), *SMALL]
    action_values.main(flags)
    first = capsys.readouterr().out.splitlines()[-1]
    within, _, predicted_std = first.strip("| ").split(" | ")[:3]
    assert -1.0 <= float(within.split(" ± ")[0]) <= 1.0
    assert float(predicted_std) > 0.0
    action_values.main(flags)
    assert capsys.readouterr().out.splitlines()[-1] == first


@pytest.mark.parametrize("dataset", [{"sha256": "other"}, {"name": "hopper-medium-v2"}])
def test_other_data_than_the_collected_file_is_refused(make_training: MakeTraining, dataset: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"--checkpoint .* was not trained on"):
        action_values.main(["--checkpoint", str(make_training(**dataset)), *SMALL])


@pytest.mark.parametrize(
    ("name", "value"), [("n_states", "1"), ("n_actions", "1"), ("n_simulations", "1"), ("seed", "-1")]
)
def test_senseless_flags_are_refused(make_training: MakeTraining, name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"--{name}"):
        action_values.main(["--checkpoint", str(make_training()), *SMALL, f"--{name}", value])


@pytest.mark.parametrize("name", [COLLECTED, "halfcheetah-medium-collected"])
def test_a_restored_state_reproduces_the_record(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path))
    with h5py.File(collect(name, 40, path=collected_path(name))) as file:
        actions, rewards = file["actions"][()], file["rewards"][()]
    simulator = Simulator(name, discount=0.001, penalty=None)  # the first reward alone is not negligible
    for state in read_states(name, 10, 2, 0):
        value = simulator.value(
            state, actions[state.step], np.random.default_rng(0)
        )  # one episode: the step is the row
        assert value == pytest.approx(rewards[state.step], rel=1e-4, abs=1e-4)


def test_states_come_with_the_past_of_their_own_episode(make_training: MakeTraining) -> None:
    make_training()
    with h5py.File(collected_path(COLLECTED)) as file:
        observations, actions, rewards = (file[key][()] for key in ("observations", "actions", "rewards"))
        ended = file["terminals"][()] | file["timeouts"][()]
    states = read_states(COLLECTED, 10_000, 1, 0)
    assert len(states) == len(rewards)
    assert sum(state.step == 0 for state in states) == 1 + ended[:-1].sum() > 1
    for state in states:
        assert len(state.past) == min(state.step, 1)
        if state.step:
            (row,) = np.flatnonzero((observations == state.observation).all(1))
            np.testing.assert_array_equal(state.past[0, :11], observations[row - 1])
            np.testing.assert_array_equal(state.past[0, 11:14], actions[row - 1])
            assert state.past[0, 14] == rewards[row - 1]


def test_a_terminal_ends_the_simulation_with_the_penalty() -> None:
    fallen = np.array([0.0, 0.2, 0.0, 0.0, 0.0, 0.0])  # hopper's torso far below its healthy height
    state = State(np.zeros((0, 16)), np.zeros(11), fallen, np.zeros(6), 0)
    found = Simulator(COLLECTED, 0.99, -100.0).values(state, np.zeros((1, 3)), 2, 0)
    np.testing.assert_array_equal(found, [[-100.0, -100.0]])


def test_simulations_share_their_noise_among_the_actions(make_training: MakeTraining) -> None:
    make_training()
    (state,) = read_states(COLLECTED, 1, 0, 0)
    found = Simulator(COLLECTED, 0.9, None).values(state, np.zeros((2, 3)), 3, 0)
    np.testing.assert_array_equal(found[0], found[1])
    assert len(np.unique(found[0])) == 3


@pytest.mark.parametrize("cutoffs", [{}, {"percentile": 30.0, "k_rew": 2}])
def test_predictions_are_the_scores_that_the_search_ranks(make_training: MakeTraining, cutoffs: dict) -> None:
    """Of the same actions, one search that samples them all takes the one of the highest prediction, at that score."""
    checkpoint = load_model(make_training())
    config = PlannerConfig(BeamSearchConfig(0.99, cdf_act=0.8, **cutoffs), WindowConfig("cropped", 2))
    state = next(state for state in read_states(COLLECTED, 10, 1, 0) if len(state.past))
    actions, predicted = predict(checkpoint, config, state, 7, 3)
    assert len(np.unique(predicted)) == 7

    spec, normalizer = checkpoint.model.spec, checkpoint.normalizer
    past = normalizer.normalize(torch.from_numpy(state.past)).flatten()
    observation = normalizer.normalize(torch.from_numpy(state.observation), spec.observation)
    decoder = CachedDecoder(checkpoint.model, torch.cat([past, observation])[None], config.window)
    search = BeamSearchConfig(0.99, horizon=1, beam_width=7, n_expand=1, **cutoffs)
    # The same random number for each action, in the layout of candidates of one environment.
    uniforms = torch.rand(7, 1, spec.dimension, 1, generator=torch.Generator().manual_seed(3)).permute(3, 1, 2, 0)
    plan = beam_search(decoder, spec, search, normalizer, uniforms, ValueTokens())
    assert plan.scores.item() == pytest.approx(predicted.max(), rel=1e-5)
    best = normalizer.denormalize(plan.actions[0, 0], spec.action).numpy()
    np.testing.assert_allclose(actions[predicted.argmax()], best, rtol=1e-4)


def test_the_rank_correlation_of_planted_values_is_one() -> None:
    values = np.random.default_rng(0).normal(size=(6, 12))
    returns = np.repeat(values[..., None], 4, axis=-1)
    found = compare(np.exp(values), returns)
    assert (found.within, found.within_error, found.reliability) == pytest.approx((1.0, 0.0, 1.0))
    assert compare(-values, returns).within == pytest.approx(-1.0)


def test_the_spread_of_simulations_is_without_their_noise() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(200, 12))
    shared = 50.0 * generator.normal(size=(200, 1, 16))  # by all actions of a state: it moves no rank
    returns = values[..., None] + shared + 4.0 * generator.normal(size=(200, 12, 16))
    found = compare(values, returns)
    assert found.simulated_std == pytest.approx(1.0, rel=0.1)
    assert found.reliability == pytest.approx(0.5, abs=0.05)  # noise of variance 16 over 16 simulations
    assert found.within == pytest.approx(0.65, abs=0.05)  # Spearman at a correlation of 0.71, 12 ranks


def test_ties_share_a_rank_and_constants_rank_nothing() -> None:
    assert rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([5.0, 5.0, 9.0])) == pytest.approx(1.0)
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0.0
    assert rank_correlation(np.arange(4.0), np.ones(4)) == 0.0
