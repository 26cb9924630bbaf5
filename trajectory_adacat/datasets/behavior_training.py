"""Train a behaviour policy as D4RL did, by soft actor-critic, and keep every transition of the training.

The learner is Stable-Baselines3's SAC with its default settings: two hidden layers of 256 ReLU units and a
tanh-squashed Gaussian, the form of the policies in D4RL's files. A training lives in a folder and continues there.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
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
from trajectory_adacat.errors import InputError
from trajectory_adacat.files import parse_json, read_text, write_atomically
from trajectory_adacat.robots import MAX_EPISODE_STEPS, NamedDataset, Robot

POLICY_FILE = "policy.npz"
PROGRESS_FILE = "progress.jsonl"
SETTINGS_FILE = "settings.json"
STATE_FILE = "state.pt"
ROWS = "rows"  # folder of the transitions, one file for each stretch between saved states
EVALUATION_SEED = 1_000_000  # of the first evaluation episode's environment

Rows = dict[str, np.ndarray]
Held = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class BehaviorTraining:
    """Settings of a training, which stay the same when it continues.

    Args:
        robot: id of the robot, which moves with v2 dynamics.
        seed: of the networks, the environment and the noise.
        random_steps: steps with uniformly random actions before the first update.
        evaluate_every: steps between evaluations. The training's state is saved before each.
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
        self._seconds_per_step = math.nan  # of the last stretch
        is_continued = (folder / STATE_FILE).exists()
        if not is_continued and (folder / PROGRESS_FILE).exists():
            raise InputError(f"{folder / STATE_FILE} is missing, the state of a training: choose another --output.")
        if is_continued:
            self._load()
        for path in (folder / ROWS).glob("*.npz"):
            if int(path.stem) > self.steps:
                path.unlink()  # of a process that was killed before it saved the state
        if is_continued:
            self._fill_replay_buffer()

    @property
    def steps(self) -> int:
        """The environment steps so far."""
        return self._model.num_timesteps

    @property
    def actor(self) -> SquashedGaussianPolicy:
        """The current policy."""
        tensors = {name: tensor.cpu().numpy() for name, tensor in self._model.policy.state_dict().items()}
        return SquashedGaussianPolicy(actor_weights("SAC or TQC", tensors))

    def run(
        self,
        steps: int,
        stop_return: float | None,
        held: Held = nullcontext,
        stops: Callable[[], bool] = lambda: False,
    ) -> Iterator[dict[str, Any]]:
        """Train until ``steps``, or until an evaluation's mean return reaches ``stop_return``.

        Args:
            steps: environment steps at most.
            stop_return: mean return that ends the training; None for none.
            held: context in which the state of the training changes; a signal should wait for its end.
            stops: whether such a signal waits. The training then saves its step at once.

        Yields:
            After each evaluation the steps, its mean return and the seconds of training for a step.
        """
        while True:
            if self._is_due(steps):
                yield self._evaluate()
            if self.steps >= steps or self._has_reached(stop_return):
                return
            with held():
                self._learn(steps, stops)
                self._save()

    def _is_due(self, steps: int) -> bool:
        """Return whether an evaluation is due; one that was interrupted is due when the training continues."""
        if self.steps < steps and self.steps % self.config.evaluate_every:
            return False
        progress = read_progress(self.folder, self.steps)
        return self.steps > 0 and (not progress or progress[-1]["steps"] != self.steps)

    def _learn(self, steps: int, stops: Callable[[], bool]) -> None:
        """Train until the next evaluation."""
        before, started = self.steps, time.perf_counter()
        left = self.config.evaluate_every - before % self.config.evaluate_every
        n_steps = min(left, steps - before)
        self._model.learn(n_steps, callback=lambda *_: not stops(), reset_num_timesteps=False)
        self._seconds_per_step = (time.perf_counter() - started) / (self.steps - before)

    def _evaluate(self) -> dict[str, Any]:
        returns = evaluate(self.robot, self.actor, self.config.evaluation_episodes)
        record = {"steps": self.steps, "return": round(float(np.mean(returns)), 3)}
        record["seconds_per_step"] = self._seconds_per_step
        progress = [*read_progress(self.folder, self.steps - 1), record]
        write_atomically(self.folder / PROGRESS_FILE, "".join(json.dumps(line) + "\n" for line in progress))
        return record

    def rows(self) -> Rows:
        """Return all transitions so far, in the order of time; a training that was continued has a cut there."""
        parts = [_read_rows(path) for path in self._row_files()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check_settings(self) -> None:
        path = self.folder / SETTINGS_FILE
        settings = asdict(self.config)
        if not path.exists():
            write_atomically(path, json.dumps(settings, indent=2) + "\n")
            return
        try:
            found = dict(parse_json(read_text(path)))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} cannot be read ({error}): choose another --output.") from error
        differing = [f"--{name} {found.get(name)}" for name in settings if found.get(name) != settings[name]]
        if differing:
            raise InputError(
                f"{self.folder} holds a training with {', '.join(differing)}: pass these flags to continue it, or "
                "choose another --output."
            )

    def _has_reached(self, stop_return: float | None) -> bool:
        progress = read_progress(self.folder, self.steps)
        return stop_return is not None and bool(progress) and progress[-1]["return"] >= stop_return

    def _save(self) -> None:
        """Save the transitions first and the state last: it says which of the others belong to it."""
        rows: dict[str, Any] = self._env.take()
        with _replacing(self.folder / ROWS / f"{self.steps:09d}.npz") as part, open(part, "wb") as file:
            np.savez(file, **rows)
        with _replacing(self.folder / POLICY_FILE) as part:
            write_policy(self.actor.weights, part)
        state = {
            "parameters": self._model.get_parameters(),
            "log_ent_coef": self._model.log_ent_coef.detach(),
            "steps": self.steps,
            "updates": self._model._n_updates,
            "seconds_per_step": self._seconds_per_step,
        }
        with _replacing(self.folder / STATE_FILE) as part:
            torch.save(state, part)

    def _load(self) -> None:
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
        self._seconds_per_step = state.get("seconds_per_step", math.nan)

    def _fill_replay_buffer(self) -> None:
        files = self._row_files()
        last: dict[str, Any] = _read_rows(files[-1])  # the episode that was interrupted cannot continue
        last["timeouts"][-1] |= not last["terminals"][-1]
        with _replacing(files[-1]) as part, open(part, "wb") as file:
            np.savez(file, **last)
        rows = self.rows()
        names = ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts")
        for observation, following, action, reward, terminal, timeout in zip(*(rows[n] for n in names), strict=True):
            info = {"TimeLimit.truncated": bool(timeout)}
            end = np.array([terminal or timeout])
            self._model.replay_buffer.add(observation, following, action[None], np.array([reward]), end, [info])

    def _row_files(self) -> list[Path]:
        return sorted((self.folder / ROWS).glob("*.npz"))


class _replacing:  # noqa: N801, used like a function
    """Give a name to write to, and rename that file to ``path`` at the end if there was no error."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")

    def __enter__(self) -> Path:
        return self._part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with open(self._part, "rb") as file:
                os.fsync(file.fileno())
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
