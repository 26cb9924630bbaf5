"""Record a rollout: its plans, the model's predictions, and what then happened."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.planned import Discounting, realized_returns
from trajectory_adacat.planning.candidates import keep_likely
from trajectory_adacat.planning.planner import MadePlan, Planner
from trajectory_adacat.recording import FORMAT, QUANTILES, Recording
from trajectory_adacat.rendering import Camera, Frame, encode

LONGEST_FRAME, SHORTEST_FRAME = 0.2, 0.02  # seconds


@dataclass(frozen=True)
class RecordConfig:
    """What to record; can be pickled.

    Attributes:
        folder: folder of the recordings.
        every: steps between two recorded plans.
        seeds: seeds of the rollouts to record; None for all.
        frames: whether to draw the environment at each recorded plan.
        description: what the rollouts depend on.
    """

    folder: Path
    every: int = 5
    seeds: frozenset[int] | None = None
    frames: bool = False
    description: dict[str, Any] = field(default_factory=dict)

    def path(self, seed: int) -> Path:
        """Return the file of a rollout."""
        return self.folder / f"rollout_{seed}.npz"


class Prediction(NamedTuple):
    """What a model predicts of one transition; see `Recording` for the arrays."""

    pit: NDArray[Any]
    widths: NDArray[Any]
    masses: NDArray[Any]
    kept: NDArray[Any]


class Recorder:
    """Record one episode. It only reads: actions and random numbers are the same without it.

    Args:
        config: what to record.
        planner: the planner.
        environment: the environment, after its reset.
        seed: seed of the episode.
        observation: the first observation, ``[o]``.
    """

    def __init__(
        self,
        config: RecordConfig,
        planner: Planner,
        environment: gymnasium.Env,
        seed: int,
        observation: NDArray[np.float64],
    ) -> None:
        self._config, self._planner, self._seed = config, planner, seed
        self._observations, self._actions, self._rewards = [observation], list[NDArray[np.float64]](), list[float]()
        self._plans: dict[int, MadePlan] = {}  # by step
        self._predictions: dict[int, Prediction] = {}
        self._frames: list[Frame] = []
        self._next = 0  # step from which the next plan is recorded
        self._names = dimension_names(environment, planner.spec.observation_size, planner.spec.action_size)
        self._seconds = getattr(environment.unwrapped, "dt", None)
        self._why_no_video = "--frames was not given."
        self._camera = self._make_camera(environment) if config.frames else None

    def _make_camera(self, environment: gymnasium.Env) -> Camera | None:
        try:
            return Camera(environment)
        except InputError as error:
            self._why_no_video = str(error)
        except Exception as error:  # of the graphics driver: the results are not affected
            self._why_no_video = f"The graphics driver failed: {error}"
        warnings.warn(self._why_no_video, stacklevel=2)
        return None

    def act(self, action: NDArray[np.float64], plan: MadePlan | None) -> None:
        """Record an action, and the plan if one was made for it. Call it before the environment's step."""
        step = len(self._actions)
        self._actions.append(action)
        if plan is None or step < self._next:
            return
        self._next = step + self._config.every
        self._plans[step] = plan
        if self._camera is not None:
            self._frames.append(self._camera.draw())

    def observe(self, observation: NDArray[np.float64], reward: float) -> None:
        """Record what followed the last action."""
        step = len(self._actions) - 1
        self._observations.append(observation)
        self._rewards.append(reward)
        if step in self._plans and np.isfinite(observation).all():
            real = np.concatenate([self._observations[-2], self._actions[-1], [reward, 0.0]])
            self._predictions[step] = predict(self._planner, self._plans[step], real, observation)

    def save(self, result: dict[str, Any], terminated: bool, discounting: Discounting | None) -> Path:
        """Write the recording, and return its file.

        Args:
            result: of the episode, for the description.
            terminated: whether the episode reached a terminal state.
            discounting: of the model's training; None if the plans have another discount.
        """
        path = self._config.path(self._seed)
        self._finish(result, terminated, discounting).save(path)
        if self._camera is not None:
            self._camera.close()
        return path

    def _finish(self, result: dict[str, Any], terminated: bool, discounting: Discounting | None) -> Recording:
        steps = [step for step in self._plans if step in self._predictions]
        frames = self._frames[: len(steps)]
        per_second = self._frames_per_second()
        normalizer, n_steps = self._planner.normalizer, len(self._rewards)
        predictions = [self._predictions[step] for step in steps]
        made = [self._in_units(self._plans[step], self._observations[step]) for step in steps]
        realized = np.full(n_steps, np.nan)
        if discounting is not None and n_steps:
            realized = realized_returns(self._rewards, terminated, discounting)
        description = {
            "format": FORMAT,
            **self._config.description,
            "rollout_seed": self._seed,
            "names": self._names,
            "seconds_per_step": self._seconds,
            "every": self._config.every,
            "result": result,
            "video": {"frames_per_second": per_second} if frames else {"missing": self._why_no_video},
        }
        horizon, dimension = self._planner.config.search.horizon, self._planner.spec.dimension
        bins = predictions[0].widths.shape[-1] if predictions else 0
        size = self._planner.spec.observation_size
        return Recording(
            description=description,
            observations=np.array(self._observations[: n_steps + 1], np.float32),
            actions=np.array(self._actions[:n_steps], np.float32).reshape(n_steps, self._planner.spec.action_size),
            rewards=np.array(self._rewards, np.float32),
            steps=np.array(steps, np.int32),
            plans=_stack([plan for plan, _ in made], (horizon, dimension)),
            spread=_stack([spread for _, spread in made], (len(QUANTILES), horizon, dimension)),
            scores=np.array([self._plans[step].score for step in steps], np.float32),
            score_spread=_stack([_quantiles(self._plans[step].candidate_scores) for step in steps], (len(QUANTILES),)),
            realized=np.array(realized[steps], np.float32),
            low=normalizer.low.numpy().astype(np.float32),
            high=normalizer.high.numpy().astype(np.float32),
            pit=_stack([found.pit for found in predictions], (size + 1,)),
            widths=_stack([found.widths for found in predictions], (dimension, bins), np.float16),
            masses=_stack([found.masses for found in predictions], (dimension, bins), np.float16),
            kept=_stack([found.kept for found in predictions], (dimension, bins), np.bool_),
            video=np.frombuffer(encode(frames, per_second), np.uint8) if frames else np.zeros(0, np.uint8),
        )

    def _frames_per_second(self) -> float:
        """Play at the speed of the simulation, within what a viewer can follow."""
        seconds = self._config.every * (self._seconds or LONGEST_FRAME)
        return 1.0 / min(max(seconds, SHORTEST_FRAME), LONGEST_FRAME)

    def _in_units(self, plan: MadePlan, observation: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the chosen plan, ``[H, D]``, and the quantiles of its candidates, ``[3, H, D]``."""
        candidates = self._planner.normalizer.denormalize(plan.candidates.cpu())
        candidates[:, 0, self._planner.spec.observation] = torch.from_numpy(observation)
        chosen = candidates[plan.candidate_scores.argmax().cpu()]
        return chosen.numpy(), _quantiles(candidates)


def _stack(arrays: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Stack arrays of a shape; there may be none."""
    return np.array(arrays, dtype).reshape(len(arrays), *shape)


def _quantiles(values: Tensor) -> NDArray[Any]:
    """Return the quantiles `QUANTILES` over the first axis."""
    return np.quantile(values.cpu().numpy(), QUANTILES, axis=0)


@torch.inference_mode()
def predict(
    planner: Planner, plan: MadePlan, real: NDArray[np.float64], observation: NDArray[np.float64]
) -> Prediction:
    """Return what the model predicts of the first imagined transition and of the real one.

    Each number is predicted from those before it: the bins from imagined numbers, the cdf from real ones. The model
    sees as much of the past as in the search.

    Args:
        planner: the planner.
        plan: its plan.
        real: the transition that followed the plan, ``[D]``, in units; its value is not used.
        observation: the observation after it, ``[o]``.
    """
    spec, device = planner.spec, planner.model.device
    after = np.concatenate([observation, np.zeros(spec.action_size + 2)])
    happened = planner.normalizer.normalize(torch.from_numpy(np.stack([real, after]))).to(device)  # [2, D]
    imagined = torch.cat([plan.transitions[:2], happened[len(plan.transitions[:2]) :]])
    pair = torch.stack([torch.where(imagined.isnan(), happened, imagined), happened]).flatten(1)
    tokens = pair[:, spec.observation_size : spec.dimension + spec.observation_size]  # [2, D]: a, r, v, next o
    rows = torch.cat([plan.context.expand(2, -1), tokens], 1)
    n_whole = plan.context.shape[0] // spec.dimension + 1  # when the next transition begins
    n_dropped = n_whole - planner.config.window.num_visible(n_whole, planner.model.config.n_transitions)
    now = _predict(planner, rows[:, : -spec.observation_size], tokens[:, : -spec.observation_size])
    following = _predict(planner, rows[:, n_dropped * spec.dimension :], tokens[:, -spec.observation_size :])
    pit = np.concatenate([following.pit, now.pit[spec.action_size : spec.action_size + 1]])
    # In the order of a transition: the observation first.
    return Prediction(pit, *(np.concatenate(pair) for pair in zip(following[1:], now[1:], strict=True)))


def _predict(planner: Planner, rows: Tensor, targets: Tensor) -> Prediction:
    """Predict the last tokens, ``targets [2, n]``, of ``rows [2, m]``: the imagined row and the real one."""
    model, n = planner.model, targets.shape[1]
    hidden = model.hidden(rows[:, :-1])
    first = (rows.shape[1] - n) % planner.spec.dimension
    found = [
        _of_token(planner, model.head.distribution_of(hidden[:, i - n], first + i), first + i, targets[:, i])
        for i in range(n)
    ]
    return Prediction(*(np.stack(arrays) for arrays in zip(*found, strict=True)))


def _of_token(planner: Planner, distribution: Any, dimension: int, target: Tensor) -> Prediction:
    """Return the cdf of the real row's ``target[1]``, and the bins of the imagined row."""
    pit = distribution.cdf(target)[1].cpu().numpy()
    if not planner.model.head.has_bins:
        return Prediction(pit, *(np.zeros(0) for _ in range(3)))
    kept = keep_likely(distribution, *_cutoffs(planner, dimension)).masses[0] > 0
    return Prediction(
        pit, distribution.widths[0].cpu().numpy(), distribution.masses[0].cpu().numpy(), kept.cpu().numpy()
    )


def _cutoffs(planner: Planner, dimension: int) -> tuple[int | None, float, float]:
    """Return the arguments of `keep_likely` in the search, for a dimension of a transition."""
    search, spec = planner.config.search, planner.spec
    if dimension < spec.action.start:
        return search.k_obs, search.cdf_obs, search.drop_obs
    if dimension < spec.action.stop:
        return search.k_act, search.cdf_act, search.drop_act
    return search.k_rew, 0.0, 0.0


def dimension_names(environment: gymnasium.Env, observation_size: int, action_size: int) -> dict[str, list[str]]:
    """Return a name for each dimension of observations and actions.

    Names of joints where the observation holds MuJoCo's last positions and then all velocities, as those of hopper,
    walker2d and halfcheetah do; otherwise numbers.
    """
    names = {
        "observation": [f"observation {i}" for i in range(observation_size)],
        "action": [f"action {i}" for i in range(action_size)],
    }
    model = getattr(environment.unwrapped, "model", None)
    if model is None or not all(hasattr(model, name) for name in ("nq", "nv", "nu", "njnt")):
        return names
    joints = [model.joint(i).name for i in range(model.njnt)]
    hidden = model.nq + model.nv - observation_size
    if model.nq == model.nv == model.njnt and 0 <= hidden < model.nq:
        names["observation"] = [
            *(f"{name} position" for name in joints[hidden:]),
            *(f"{name} velocity" for name in joints),
        ]
    if model.nu == action_size:
        names["action"] = [f"{model.joint(model.actuator(i).trnid[0]).name} torque" for i in range(action_size)]
    return names
