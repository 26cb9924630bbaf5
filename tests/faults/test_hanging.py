"""Planning with --step_timeout goes on without an environment that hangs in a step, and ends if none can be made."""

import json
import shutil
from pathlib import Path

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation import guarded
from trajectory_adacat.scripts import plan

# Without torch, which would take seconds to import in each process.
MODULE = """
import time
import gymnasium
import numpy as np

class Hanging(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, making=0.0):
        time.sleep(making)

    def reset(self, *, seed=None, options=None):
        self.hangs, self.steps = seed == 1, 0
        return np.zeros(3), {}

    def step(self, action):
        self.steps += 1
        if self.hangs and self.steps == 3:
            time.sleep(600.0)
        return np.zeros(3), 1.0, False, False, {}

gymnasium.register("Hanging-v0", entry_point=Hanging, max_episode_steps=5)
"""
FLAGS = "--dataset own --environment hanging:Hanging-v0 --exp_name plans --horizon 1 --beam_width 1 --n_expand 1"


@pytest.fixture(autouse=True)
def module(trained_once: Path, home: Path) -> None:
    shutil.copytree(trained_once, home / "logs")
    (home / "hanging.py").write_text(MODULE)


def run(*flags: str) -> None:
    plan.main([*FLAGS.split(), "--max_context_transitions", "3", "--verbose", "false", *flags])


def test_an_environment_that_hangs_in_a_step_ends_its_rollout_alone(home: Path) -> None:
    with pytest.raises(InputError, match=r"failed in 1 of 2 rollouts \(seeds 1\).*failures\.jsonl"):
        run("--n_rollouts", "2", "--step_timeout", "1.5")
    folder = home / "logs" / "own" / "plans"
    (failure,) = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert (failure["rollout_seed"], failure["step"]) == (1, 3)
    assert failure["error"] == "no answer within 1.5 seconds (--step_timeout): its process was ended"
    (result,) = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    assert (result["rollout_seed"], result["length"], result["truncated"]) == (0, 5, True)


def test_an_environment_that_hangs_while_it_is_made_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "MAKING_SECONDS", 1.0)
    with pytest.raises(InputError, match=r"The environment could not be made: no answer within 1 seconds"):
        run("--n_rollouts", "1", "--step_timeout", "0.5", "--env_kwargs", '{"making": 60.0}')
    assert not (home / "logs" / "own" / "plans").exists()
