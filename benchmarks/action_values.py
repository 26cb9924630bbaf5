"""Do predicted values rank actions? Compare them with simulations from restored states of a collected dataset.

    python -m benchmarks.action_values --checkpoint logs/hopper-medium-collected/gpt/adacat_0

In each state, actions are sampled from the model. The search ranks them by predicted reward + discount * value. The
simulation takes the action in the restored state and then follows the behaviour policy, as the data did: its mean
discounted return is what the prediction estimates. docs/planning.md says how to read the table.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from scipy import stats
from tqdm import tqdm

from benchmarks.dynamics import robot_environment
from trajectory_adacat.checkpoint import Checkpoint, find_checkpoint, load_model, read_training
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import use_threads
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.collected import collected_path
from trajectory_adacat.datasets.policies import BehaviorPolicy, load_policy
from trajectory_adacat.datasets.sequences import episode_transitions, resolve_penalty
from trajectory_adacat.errors import InputError
from trajectory_adacat.planning.beam_search import beam_search, uniforms_shape
from trajectory_adacat.planning.decoding import CachedDecoder
from trajectory_adacat.planning.planner import PlannerConfig
from trajectory_adacat.planning.scoring import ValueTokens
from trajectory_adacat.planning.search_config import NO_SEARCH
from trajectory_adacat.robots import MAX_EPISODE_STEPS, collected_datasets
from trajectory_adacat.scripts import plan_arguments, plan_setting

NEGLIGIBLE = 0.01  # discount ** t below which later rewards are left out


class ActionValuesArguments(CommandParser):
    """Compare predicted with simulated values of actions in states of a collected dataset."""

    checkpoint: Path  # trained model: the training's folder, or a checkpoint in it
    preset: str | None = None  # preset whose context and predictions are used; by default the one for the dataset
    n_states: int = 20  # recorded states
    n_actions: int = 8  # actions in each state
    n_simulations: int = 8  # simulations of each action
    seed: int = 0  # of the states, the actions and the policy's noise


class State(NamedTuple):
    """A recorded state.

    Attributes:
        past: the transitions before it that the planner would see, ``[k, D]``.
        observation: ``[o]``.
        qpos: positions, ``[q]``.
        qvel: velocities, ``[v]``.
        step: environment steps since the reset.
    """

    past: np.ndarray
    observation: np.ndarray
    qpos: np.ndarray
    qvel: np.ndarray
    step: int


def read_states(name: str, n: int, n_past: int, seed: int) -> list[State]:
    """Draw states of a collected dataset, without repetition.

    Args:
        name: of the dataset.
        n: number of states; all where the dataset has fewer.
        n_past: most preceding transitions of the same episode to return with each.
        seed: of the draw.
    """
    episodes = load_dataset(name).episodes
    with h5py.File(collected_path(name)) as file:
        qpos, qvel = file["infos/qpos"][()], file["infos/qvel"][()]
    ends = np.cumsum([len(episode) for episode in episodes])
    states = []
    for row in np.random.default_rng(seed).choice(len(qpos), min(n, len(qpos)), replace=False).tolist():
        index = int(np.searchsorted(ends, row, side="right"))
        episode, step = episodes[index], row - int(ends[index]) + len(episodes[index])
        past = episode_transitions(episode, 1.0, None)[max(0, step - n_past) : step]
        states.append(State(past, episode.observations[step], qpos[row], qvel[row], step))
    return states


@torch.inference_mode()
def predict(
    checkpoint: Checkpoint, config: PlannerConfig, state: State, n_actions: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sample A actions from all bins, and return the score that the search gives each after one step.

    Each is a search of its own that samples this one action.

    Returns:
        The actions in the environment's units, ``[A, a]``, and predicted reward + discount * value, ``[A]``.
    """
    model, normalizer, spec = checkpoint.model, checkpoint.normalizer, checkpoint.model.spec
    search = replace(config.search, **NO_SEARCH)
    past = normalizer.normalize(torch.from_numpy(state.past))
    observation = normalizer.normalize(torch.from_numpy(state.observation), spec.observation)
    context = torch.cat([past.flatten(), observation]).repeat(n_actions, 1)
    uniforms = torch.rand(n_actions, *uniforms_shape(spec, search), generator=torch.Generator().manual_seed(seed))
    decoder = CachedDecoder(model, context, config.window)
    found = beam_search(decoder, spec, search, normalizer, uniforms, ValueTokens())
    return normalizer.denormalize(found.actions[:, 0], spec.action).numpy(), found.scores.numpy()


class Simulator:
    """Simulates returns in the environment of a collected dataset.

    Args:
        name: of the dataset, which names robot and behaviour policy.
        discount: of the rewards.
        penalty: what replaces a terminal's reward, as in training; None for nothing.
    """

    def __init__(self, name: str, discount: float, penalty: float | None) -> None:
        dataset = collected_datasets()[name]
        self.environment: MujocoEnv = robot_environment(dataset.robot, "v2")
        self.environment.reset(seed=0)  # set_state requires it
        self._policy: BehaviorPolicy = load_policy(dataset.robot, dataset.quality)
        self._discount, self._penalty = discount, penalty

    def values(self, state: State, actions: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Return `value` of ``n`` simulations of each of ``actions [A, a]``, ``[A, n]``.

        Simulation r has the same noise for each action, so that fewer show how the actions differ.
        """
        return np.array(
            [[self.value(state, action, np.random.default_rng((seed, r))) for r in range(n)] for action in actions]
        )

    def value(self, state: State, action: np.ndarray, noise: np.random.Generator) -> float:
        """Return the discounted return of one simulation: ``action [a]`` in ``state``, then the behaviour policy.

        It ends where training's values do: at a terminal, or at the episode's time limit. ``noise`` is the policy's.
        """
        self.environment.set_state(state.qpos, state.qvel)
        total, weight = 0.0, 1.0
        for _ in range(state.step, MAX_EPISODE_STEPS):
            observation, reward, terminated, _, _ = self.environment.step(action)
            total += weight * float(self._penalty if terminated and self._penalty is not None else reward)
            weight *= self._discount
            if terminated or weight < NEGLIGIBLE:
                break
            action, _ = self._policy.act(observation, noise)
        return total


def rank_correlation(predicted: np.ndarray, simulated: np.ndarray) -> float:
    """Return Spearman's rank correlation of two vectors; 0 where either is constant and so ranks nothing."""
    if np.ptp(predicted) == 0.0 or np.ptp(simulated) == 0.0:
        return 0.0
    return float(stats.spearmanr(predicted, simulated).statistic)


class Comparison(NamedTuple):
    """How predicted and simulated values of the same actions compare.

    Attributes:
        within: rank correlation over the actions of a state, mean over the states.
        within_error: its standard error.
        across: rank correlation of the states' means.
        predicted_std: standard deviation over the actions of a state, root mean square over the states.
        simulated_std: the same of the simulations, without the part that comes from having few of them.
        reliability: share of the variance of the simulated means within states that is not that part.
    """

    within: float
    within_error: float
    across: float
    predicted_std: float
    simulated_std: float
    reliability: float


def compare(predicted: np.ndarray, returns: np.ndarray) -> Comparison:
    """Compare predictions ``[S, A]`` with the returns of the simulations, ``[S, A, R]``, all at least 2.

    The noise of a simulation that all actions share does not count: it moves no rank.
    """
    simulated = returns.mean(-1)
    unshared = returns - returns.mean(1, keepdims=True) - simulated[..., None] + simulated.mean(1)[:, None, None]
    n_actions, n_simulations = returns.shape[1:]
    noise = float((unshared**2).sum((1, 2)).mean()) / ((n_actions - 1) * (n_simulations - 1))
    correlations = [rank_correlation(p, s) for p, s in zip(predicted, simulated, strict=True)]
    observed = float(simulated.var(-1, ddof=1).mean())
    true = max(0.0, observed - noise / n_simulations)
    return Comparison(
        within=float(np.mean(correlations)),
        within_error=float(np.std(correlations, ddof=1) / math.sqrt(len(correlations))),
        across=rank_correlation(predicted.mean(-1), simulated.mean(-1)),
        predicted_std=math.sqrt(predicted.var(-1, ddof=1).mean()),
        simulated_std=math.sqrt(true),
        reliability=true / observed if observed else 0.0,
    )


def measure(arguments: ActionValuesArguments) -> Comparison:
    """Predict and simulate the actions' values.

    Raises:
        InputError: if the checkpoint is missing, or of other data than the collected dataset of its name.
    """
    planning, source = plan_arguments.parse(plan_flags(arguments.checkpoint, arguments.preset))
    config = plan_setting.planner_config(planning, source.description["discount"])
    dataset, discount = source.description["dataset"], config.search.discount
    name = dataset["name"]
    if name not in collected_datasets() or load_dataset(name).sha256 != dataset["sha256"]:
        raise InputError(f"--checkpoint {source.folder} was not trained on a collected dataset in the cache.")
    penalty = resolve_penalty(source.description["training"].get("data", {}).get("termination_penalty"), name)
    checkpoint, simulator = (
        load_model(source.folder, config.use_ema),
        Simulator(name, discount, penalty),
    )
    n_past = config.window.max_context_transitions - 1 if config.prefix_context else 0
    predicted, returns = [], []
    for i, state in enumerate(tqdm(read_states(name, arguments.n_states, n_past, arguments.seed), unit="state")):
        actions, values = predict(checkpoint, config, state, arguments.n_actions, arguments.seed + i)
        predicted.append(values)
        returns.append(simulator.values(state, actions, arguments.n_simulations, arguments.seed + i))
    return compare(np.array(predicted), np.array(returns))


def plan_flags(checkpoint: Path, preset: str | None) -> list[str]:
    """Return the flags that make the plan command plan with a checkpoint as a preset says; None is the dataset's own.

    Raises:
        InputError: if there is no such checkpoint.
    """
    folder = find_checkpoint(checkpoint)
    flags = ["--dataset", read_training(folder)["dataset"]["name"], "--gpt_loadpath", str(folder.resolve())]
    return flags if preset is None else [*flags, "--preset", preset]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table.

    Raises:
        InputError: for a bad flag or checkpoint.
    """
    arguments = ActionValuesArguments().parse(argv)
    for name in ("n_states", "n_actions", "n_simulations"):
        if getattr(arguments, name) < 2:
            raise InputError(f"--{name} must be at least 2, got {getattr(arguments, name)}.")
    if arguments.seed < 0:
        raise InputError(f"--seed must not be negative, got {arguments.seed}.")
    use_threads(1)
    found = measure(arguments)
    print("| rank correlation within states | across states | predicted std | simulated std | reliability |")
    print("|---|---|---|---|---|")
    others = (found.across, found.predicted_std, found.simulated_std, found.reliability)
    print(f"| {found.within:.2f} ± {found.within_error:.2f} | {' | '.join(f'{other:.3g}' for other in others)} |")


if __name__ == "__main__":
    run_command(main)
