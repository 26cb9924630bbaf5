"""Train a behaviour policy as D4RL did, by soft actor-critic, and keep every transition of the training.

The learner is Stable-Baselines3's SAC with its default settings: two hidden layers of 256 ReLU units and a
tanh-squashed Gaussian, the form of the policies in D4RL's files. A training lives in a folder and continues there.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch

from trajectory_adacat.datasets.collected import prepare, provenance, write_arrays
from trajectory_adacat.datasets.policies import Actor, SquashedGaussianPolicy
from trajectory_adacat.datasets.policy_files import actor_weights, write_policy
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.robots import MAX_EPISODE_STEPS, NamedDataset, Robot
from trajectory_adacat.training.interruption import Interruption

POLICY_FILE = "policy.npz"
PROGRESS_FILE = "progress.jsonl"
SETTINGS_FILE = "settings.json"
STATE_FILE = "state.pt"
ROWS = "rows"  # folder of the transitions, one file for each evaluation
EVALUATION_SEED = 1_000_000  # of the first evaluation episode's environment

Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class BehaviorTraining:
    """Settings of a training, which stay the same when it continues.

    Args:
        robot: id of the robot, which moves with v2 dynamics.
        seed: of the networks, the environment and the noise.
        random_steps: steps with uniformly random actions before the first update.
        evaluate_every: steps between evaluations. The training's state is saved at each.
        evaluation_episodes: episodes of an evaluation, with the policy's mode.
    """

    robot: str
    seed: int = 0
    random_steps: int = 1000
    evaluate_every: int = 10_000
    evaluation_episodes: int = 5


class Recorder(gymnasium.Wrapper):
    """Keeps the transitions of a MuJoCo environment, with the state before each."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._rows: list[tuple] = []
        self._observation = np.empty(0)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        self._observation, info = self.env.reset(**options)
        return self._observation, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take and keep a step."""
        data = cast(Any, self.env.unwrapped).data
        state = data.qpos.copy(), data.qvel.copy()
        following, reward, terminated, truncated, info = self.env.step(action)
        ends = terminated, truncated and not terminated
        self._rows.append((self._observation, np.array(action), following, reward, *ends, *state))
        self._observation = following
        return following, float(reward), terminated, truncated, info

    def take(self) -> Rows:
        """Return the transitions since the last call, in the layout of D4RL's files."""
        names = ("observations", "actions", "next_observations", "rewards", "terminals", "timeouts")
        columns = zip(*self._rows, strict=True)
        self._rows = []
        arrays = dict(zip((*names, "infos/qpos", "infos/qvel"), map(np.array, columns), strict=True))
        return {name: array.astype(np.float32) if name in names[:4] else array for name, array in arrays.items()}


class BehaviorTrainer:
    """A training in a folder.

    Args:
        config: the settings.
        folder: of the training, which continues where one was interrupted.
        device: torch device of the networks.

    Raises:
        InputError: if the folder holds a training with other settings, or a file in it is damaged.
    """

    def __init__(self, config: BehaviorTraining, robot: Robot, folder: Path, device: str = "cpu") -> None:
        from stable_baselines3 import SAC

        self.config, self.folder, self.robot = config, folder, robot
        (folder / ROWS).mkdir(parents=True, exist_ok=True)
        self._check_settings()
        self._env = Recorder(make_environment(robot.corrected_id))
        self._model = SAC(
            "MlpPolicy", self._env, learning_starts=config.random_steps, seed=config.seed, device=device, verbose=0
        )
        if (folder / STATE_FILE).exists():
            self._restore()

    @property
    def steps(self) -> int:
        """The environment steps so far."""
        return self._model.num_timesteps

    @property
    def actor(self) -> SquashedGaussianPolicy:
        """The current policy."""
        tensors = {name: tensor.cpu().numpy() for name, tensor in self._model.policy.state_dict().items()}
        return SquashedGaussianPolicy(actor_weights("SAC or TQC", tensors))

    def run(self, steps: int, stop_return: float | None) -> Iterator[dict[str, Any]]:
        """Train until ``steps``, or until an evaluation's mean return reaches ``stop_return``.

        Yields:
            After each evaluation the steps, its mean return and the seconds of training for a step.

        Raises:
            Interrupted: after SIGINT and SIGTERM; the current step is saved first.
        """
        while self.steps < steps and not self._has_reached(stop_return):
            try:
                with Interruption() as interruption, interruption.held():  # steps and evaluations are short
                    record = self._learn(steps, interruption)
            except Interrupted as interrupted:
                message = f"saved step {self.steps} of {steps} in {self.folder}."
                raise Interrupted(message, interrupted.signal) from None
            yield record

    def _learn(self, steps: int, interruption: Interruption) -> dict[str, Any]:
        """Train until the next evaluation, evaluate and save; after a signal, save without an evaluation."""
        before, started = self.steps, time.perf_counter()
        next_evaluation = before - before % self.config.evaluate_every + self.config.evaluate_every
        self._model.learn(
            min(next_evaluation, steps) - before,
            callback=lambda *_: not interruption.is_pending,
            reset_num_timesteps=False,
        )
        record: dict[str, Any] = {"steps": self.steps}
        if not interruption.is_pending:
            record["seconds_per_step"] = (time.perf_counter() - started) / (self.steps - before)
            returns = evaluate(self.robot, self.actor, self.config.evaluation_episodes)
            record["return"] = round(float(np.mean(returns)), 3)
        self._save(record)
        return record

    def rows(self) -> Rows:
        """Return all transitions so far, in the order of time; a training that was continued has a cut there."""
        parts = [_read_rows(path) for path in self._row_files()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check_settings(self) -> None:
        path = self.folder / SETTINGS_FILE
        settings = asdict(self.config)
        if path.exists():
            found = json.loads(path.read_text())
            differing = [f"--{name} {found.get(name)}" for name in settings if found.get(name) != settings[name]]
            if differing:
                raise InputError(
                    f"{self.folder} holds a training with {', '.join(differing)}: pass these flags to continue it, or "
                    "choose another --output."
                )
        path.write_text(json.dumps(settings, indent=2) + "\n")

    def _has_reached(self, stop_return: float | None) -> bool:
        progress = read_progress(self.folder, self.steps)
        return stop_return is not None and bool(progress) and progress[-1]["return"] >= stop_return

    def _save(self, record: dict[str, Any]) -> None:
        """Save the transitions first and the state last: it says which of the others belong to it.

        A record without a return is not of an evaluation, and left out.
        """
        rows: dict[str, Any] = self._env.take()
        with _replacing(self.folder / ROWS / f"{self.steps:09d}.npz") as part, open(part, "wb") as file:
            np.savez(file, **rows)
        progress = [*read_progress(self.folder, self.steps - 1), *([record] if "return" in record else [])]
        with _replacing(self.folder / PROGRESS_FILE) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in progress))
        with _replacing(self.folder / POLICY_FILE) as part:
            write_policy(self.actor.weights, part)
        state = {
            "parameters": self._model.get_parameters(),
            "log_ent_coef": self._model.log_ent_coef.detach(),
            "steps": self.steps,
            "updates": self._model._n_updates,
        }
        with _replacing(self.folder / STATE_FILE) as part:
            torch.save(state, part)

    def _restore(self) -> None:
        path = self.folder / STATE_FILE
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for damaged files
            raise InputError(f"{path} cannot be read ({error!r}): choose another --output.") from error
        self._model.set_parameters(state["parameters"])
        with torch.no_grad():
            self._model.log_ent_coef.copy_(state["log_ent_coef"])
        self._model.num_timesteps, self._model._n_updates = state["steps"], state["updates"]
        self._model.set_random_seed(self.config.seed + state["steps"])
        files = self._row_files()
        rows: dict[str, Any] = _read_rows(files[-1])  # the episode that was interrupted cannot continue
        rows["timeouts"][-1] |= not rows["terminals"][-1]
        with _replacing(files[-1]) as part, open(part, "wb") as file:
            np.savez(file, **rows)
        self._fill_replay_buffer(self.rows())

    def _fill_replay_buffer(self, rows: Rows) -> None:
        names = ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts")
        for observation, following, action, reward, terminal, timeout in zip(*(rows[n] for n in names), strict=True):
            info = {"TimeLimit.truncated": bool(timeout)}
            end = np.array([terminal or timeout])
            self._model.replay_buffer.add(observation, following, action[None], np.array([reward]), end, [info])

    def _row_files(self) -> list[Path]:
        return [path for path in sorted((self.folder / ROWS).glob("*.npz")) if int(path.stem) <= self.steps]


class _replacing:  # noqa: N801, used like a function
    """Give a name to write to, and rename that file to ``path`` at the end if there was no error."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")

    def __enter__(self) -> Path:
        return self._part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            os.replace(self._part, self._path)


def _read_rows(path: Path) -> Rows:
    with np.load(path) as arrays:
        return dict(arrays)


def read_progress(folder: Path, steps: int) -> list[dict[str, Any]]:
    """Read the evaluations of a training up to a number of steps."""
    path = folder / PROGRESS_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if record["steps"] <= steps]


def evaluate(robot: Robot, actor: Actor, episodes: int) -> list[float]:
    """Compute the undiscounted returns of an actor's mode on v2 dynamics, with the same seeds at each call."""
    env = make_environment(robot.corrected_id).unwrapped
    returns = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=EVALUATION_SEED + episode)
        total, terminated, steps = 0.0, False, 0
        while not terminated and steps < MAX_EPISODE_STEPS:
            observation, reward, terminated, _, _ = env.step(actor.mode(observation))
            total, steps = total + float(reward), steps + 1
        returns.append(total)
    env.close()
    return returns


def write_replay(rows: Rows, dataset: NamedDataset, config: BehaviorTraining, path: Path, overwrite: bool) -> None:
    """Write the transitions of a training as a dataset.

    The last row ends an episode: it is marked as a timeout where it has no flag.

    Raises:
        InputError: if the file exists and ``overwrite`` is false, or cannot be written.
    """
    prepare(path, overwrite)
    timeouts = rows["timeouts"].copy()
    timeouts[-1] |= not rows["terminals"][-1]
    source = {"transitions": len(timeouts), "algorithm": "SAC", "recording": "replay buffer", **asdict(config)}
    del source["robot"]
    write_arrays({**rows, "timeouts": timeouts}, path, provenance(dataset, source, "v2"))
