"""Recordings say what the planner saw, imagined and met, and change nothing of it."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.evaluation.planned import Discounting, realized_returns
from trajectory_adacat.evaluation.recorder import RecordConfig, predict
from trajectory_adacat.evaluation.rollout import EpisodeResult, run_episodes
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.planning.decoding import CachedDecoder, WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.recording import load_recording
from trajectory_adacat.settings import build

SEARCH: dict[str, Any] = {"discount": 0.9, "horizon": 3, "beam_width": 4, "n_expand": 2, "cdf_act": 0.3}


class Drift(gymnasium.Env[np.ndarray, np.ndarray]):
    """Three numbers that two actions push; ends after some steps."""

    def __init__(self, length: int = 9) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = gymnasium.spaces.Box(-9.0, 9.0, (2,))
        self._length = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self._step, self._place = 0, np.array([0.1, -0.2, 0.05]) * ((seed or 0) + 1)
        return self._place, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._step += 1
        self._place = 0.8 * self._place + 0.1 * np.array([*action, 0.0])
        return self._place, float(self._place.sum()), self._step == self._length, False, {}


def make_planner(window: str = "full", head: str = "adacat", **search: Any) -> Planner:
    form = {"observation_size": 3, "action_size": 2, "n_transitions": 4, "n_layer": 2, "n_head": 2, "n_embd": 8}
    settings = {**form, "n_bins": 6, "n_components": 6, "parameterization": head}
    model = GPT(build(GPTConfig, settings)).double().eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.4)
    bounds = torch.linspace(-2.0, -1.0, 7)
    config = PlannerConfig(BeamSearchConfig(**{**SEARCH, **search}), WindowConfig(window, 3))  # type: ignore[arg-type]
    return Planner(model, MinMaxNormalizer(bounds, -bounds), config)


def run(record: RecordConfig | None, planner: Planner | None = None, n: int = 2) -> list[EpisodeResult]:
    planner = planner or make_planner()
    return run_episodes(
        planner, [Drift() for _ in range(n)], range(n), discounting=Discounting(0.9, -5.0), record=record
    )


def without_time(results: list[EpisodeResult]) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(result).items() if name != "seconds"} for result in results]


def test_recording_changes_no_result(tmp_path: Path) -> None:
    assert without_time(run(RecordConfig(tmp_path, every=1))) == without_time(run(None))


def test_a_recording_holds_what_happened(tmp_path: Path) -> None:
    result = run(RecordConfig(tmp_path, every=4, description={"dataset": "own"}))[1]
    recording = load_recording(tmp_path / "rollout_1.npz")
    assert recording.steps.tolist() == [0, 4, 8]
    assert recording.description["dataset"] == "own"
    assert recording.description["result"]["return"] == result.return_
    assert recording.rewards.sum() == pytest.approx(result.return_, rel=1e-5)
    np.testing.assert_allclose(recording.observations[0], [0.2, -0.4, 0.1], rtol=1e-6)
    pushed = 0.8 * recording.observations[:-1] + 0.1 * np.pad(recording.actions, ((0, 0), (0, 1)))
    np.testing.assert_allclose(recording.observations[1:], pushed, atol=1e-6)
    realized = realized_returns(recording.rewards.tolist(), True, Discounting(0.9, -5.0))
    np.testing.assert_allclose(recording.realized, realized[[0, 4, 8]], rtol=1e-5)


def test_a_recorded_plan_begins_with_what_was_done(tmp_path: Path) -> None:
    run(RecordConfig(tmp_path, every=4))
    recording = load_recording(tmp_path / "rollout_0.npz")
    assert recording.plans.shape == (3, 3, 7)
    np.testing.assert_allclose(recording.plans[:, 0, :3], recording.observations[recording.steps], rtol=1e-6)
    np.testing.assert_allclose(recording.plans[:, 0, 3:5], recording.actions[recording.steps], rtol=1e-5)
    assert np.isfinite(recording.plans).all()
    low, middle, high = recording.spread.swapaxes(0, 1)
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (recording.scores >= recording.score_spread[:, 1]).all()


def test_only_the_chosen_rollouts_are_recorded(tmp_path: Path) -> None:
    run(RecordConfig(tmp_path, seeds=frozenset({1})))
    assert [path.name for path in tmp_path.iterdir()] == ["rollout_1.npz"]


@pytest.mark.parametrize(("last", "planned"), [(5, [0]), (0, [])])
def test_a_failed_episode_leaves_what_it_had(tmp_path: Path, last: int, planned: list[int]) -> None:
    class Broken(Drift):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            if self._step == last:
                raise RuntimeError("broken")
            return super().step(action)

    run_episodes(make_planner(), [Broken()], [0], record=RecordConfig(tmp_path, every=5))
    recording = load_recording(tmp_path / "rollout_0.npz")
    assert recording.steps.tolist() == planned
    assert len(recording.rewards) == last
    assert "broken" in recording.description["result"]["error"]


@pytest.mark.parametrize("window", ["cropped", "full"])
@pytest.mark.parametrize("n_past", [0, 2])
@torch.no_grad()
def test_predictions_are_those_of_the_decoder(window: str, n_past: int) -> None:
    """The bins given the plan, and the cdf given what happened, token by token as in the search."""
    planner, generator = make_planner(window), np.random.default_rng(1)
    planner.reset()
    for _ in range(n_past + 1):
        observation = generator.uniform(-0.5, 0.5, 3)
        action = planner.act(observation[None])[0]
        plan = planner.plans[0]
        planner.observe([0.3])
    assert plan is not None
    after = generator.uniform(-0.5, 0.5, 3)
    found = predict(planner, plan, np.array([*observation, *action, 0.3, 0.0]), after)
    spec, normalizer = planner.spec, planner.normalizer
    real = normalizer.normalize(torch.tensor([*observation, *action, 0.3, 0.0, *after, *[0.0] * 4]).reshape(2, 7))
    rows = torch.stack([plan.transitions[:2].nan_to_num(), real.double()]).flatten(1)[:, 3:10]
    decoder = CachedDecoder(planner.model, plan.context.expand(2, -1), planner.config.window)
    decoder.expand(1)
    pit = {}
    for i, target in enumerate(rows.T):
        if i == spec.action_size:  # as the search does after an action
            decoder.select(torch.zeros(2, 1, dtype=torch.long))
        dimension = (spec.observation_size + i) % spec.dimension
        distribution = decoder.next_distribution(dimension)
        np.testing.assert_allclose(found.masses[dimension], distribution.masses[0, 0], atol=1e-6)
        np.testing.assert_allclose(found.widths[dimension], distribution.widths[0, 0], atol=1e-6)
        pit[dimension] = float(distribution.cdf(target[:, None])[1, 0])
        decoder.append(target[:, None])
    np.testing.assert_allclose(found.pit, [*(pit[d] for d in range(3)), pit[spec.reward]], atol=1e-6)


def test_cutoffs_are_those_of_the_search(tmp_path: Path) -> None:
    run(RecordConfig(tmp_path, every=3))
    recording = load_recording(tmp_path / "rollout_0.npz")
    kept = np.where(recording.kept, recording.masses.astype(float), 0.0).sum(-1)
    assert (recording.kept[:, :3].sum(-1) == 1).all()  # k_obs 1
    assert (kept[:, 3:5] >= 0.7 - 1e-2).all()  # cdf_act 0.3
    assert (kept[:, 3:5] < 1.0).any()


def test_a_model_without_bins_leaves_the_cdf_alone(tmp_path: Path) -> None:
    cutoffs = {"k_obs": None, "k_rew": None, "cdf_act": 0.0}
    run(RecordConfig(tmp_path), make_planner(head="logistic_mixture", **cutoffs))
    recording = load_recording(tmp_path / "rollout_0.npz")
    assert recording.widths.shape == (2, 7, 0)
    assert ((recording.pit >= 0.0) & (recording.pit <= 1.0)).all()


def test_a_plan_of_one_transition_imagines_no_observation(tmp_path: Path) -> None:
    run(RecordConfig(tmp_path), make_planner(horizon=1))
    recording = load_recording(tmp_path / "rollout_0.npz")
    assert recording.plans.shape == (2, 1, 7)
    assert recording.masses.sum(-1) == pytest.approx(1.0, abs=1e-2)
