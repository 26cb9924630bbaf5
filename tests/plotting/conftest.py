"""A small folder of everything that a report shows: results of two methods, two trainings, three recordings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trajectory_adacat.evaluation.results import RolloutResult
from trajectory_adacat.recording import FORMAT, Recording

RETURNS = {"adacat": [[2000.0, 2100.0], [2300.0, 2500.0]], "uniform": [[1500.0, 1400.0], [1300.0, 1700.0]]}
N, T, H, D, K = 4, 20, 3, 7, 5  # plans, steps, horizon, dimensions, bins


def make_result(method: str, train_seed: int, rollout_seed: int, return_: float, **changes: Any) -> RolloutResult:
    """Return one result."""
    values: dict[str, Any] = {
        "dataset": "hopper-medium-v2",
        "parameterization": method,
        "train_seed": train_seed,
        "rollout_seed": rollout_seed,
        "return_": return_,
        "normalized_score": return_ / 32.0,
        "length": 1000 if return_ > 1450 else 700,
        "terminated": return_ <= 1450,
        "truncated": return_ > 1450,
        "planner": {"horizon": 15},
        "checkpoint": {"hash": f"{method} {train_seed}"},
        "environment": {"environment": "trajectory_adacat/Hopper-v2", "dynamics": "v2"},
        "versions": {"torch": "2.13"},
        "git_revision": "abc",
        "seconds_per_action": 0.1,
        "data_status": "verified",
        "references": {"dataset mean return": 1422.0},
        "planned_return": 260.0,
        "realized_return": 200.0,
    }
    return RolloutResult(**values | changes)


@pytest.fixture
def result() -> Callable[..., RolloutResult]:
    """Make one result."""
    return make_result


def save_recording(folder: Path, seed: int, return_: float, video: bytes = b"", bins: int = K, **changes: Any) -> Path:
    """Write one recording of a smooth rollout."""
    generator = np.random.default_rng(seed)
    observations = np.cumsum(generator.normal(size=(T + 1, 3)), 0)
    steps = np.arange(0, T, T // N)
    plans = generator.normal(size=(N, H, D))
    plans[:, 0, :3] = observations[steps]
    description: dict[str, Any] = {
        "format": FORMAT,
        "command": f"trajectory-adacat plan --seed {seed} --record",
        "dataset": "hopper-medium-v2",
        "parameterization": "adacat",
        "train_seed": 0,
        "rollout_seed": seed,
        "planner": {},
        "environment": {},
        "versions": {},
        "names": {"observation": ["height", "angle", "speed"], "action": ["hip", "knee"]},
        "result": {"return": return_, "length": T, "terminated": True, "truncated": False, "error": None},
        "video": {"frames_per_second": 5.0} if video else {"missing": "--frames was not given."},
    }
    widths = generator.dirichlet(np.ones(max(bins, 1)), (N, D))[..., :bins]
    masses = generator.dirichlet(np.ones(max(bins, 1)), (N, D))[..., :bins]
    path = folder / "recordings" / f"rollout_{seed}.npz"
    Recording(
        description=description | changes,
        observations=observations.astype(np.float32),
        actions=generator.normal(size=(T, 2)).astype(np.float32),
        rewards=np.ones(T, np.float32),
        steps=steps,
        plans=plans.astype(np.float32),
        spread=np.stack([plans - 1, plans, plans + 1], 1).astype(np.float32),
        scores=np.full(N, 200.0),
        score_spread=np.tile([150.0, 180.0, 200.0], (N, 1)),
        realized=np.array([190.0, 180.0, 170.0, np.nan]),
        low=np.full(D, -3.0),
        high=np.full(D, 3.0),
        pit=generator.random((N, 4)),
        widths=widths.astype(np.float16),
        masses=masses.astype(np.float16),
        kept=masses > 0.2,
        video=np.frombuffer(video, np.uint8),
    ).save(path)
    return path


@pytest.fixture
def record() -> Callable[..., Path]:
    """Write one recording."""
    return save_recording


def write_logs(folder: Path) -> Path:
    """Write the folder ``logs`` into another one; return its path."""
    for method, trainings in RETURNS.items():
        for train_seed, returns in enumerate(trainings):
            for seed, return_ in enumerate(returns):
                make_result(method, train_seed, seed, return_).save(folder / "logs" / method / str(train_seed))
    for seed in range(2):
        training = folder / "logs" / "training" / f"gpt_{seed}"
        training.mkdir(parents=True)
        lines = [
            {
                "step": step,
                "loss": 1.0 / step,
                "learning_rate": 0.1,
                "held_out_ema/all": -step / 10,
                "held_out/all": 0.0,
            }
            for step in range(1, 9)
        ]
        (training / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for seed, return_ in enumerate((2000.0, 2100.0, 1900.0)):
        save_recording(folder / "logs" / "adacat" / "0", seed, return_)
    return folder / "logs"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The folder, for a test to change."""
    return write_logs(tmp_path)
