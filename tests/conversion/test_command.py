"""The command: a converted training plans like any other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import convert, plan

from .conftest import DATASET, N_ACT, N_OBS, FolderWriter

BOX = "converted/Box-v0"


class Box(gymnasium.Env):
    """Random observations of the sizes of the folders."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (N_OBS,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (N_ACT,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode."""
        super().reset(seed=seed)
        return self.np_random.normal(size=N_OBS), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Reward the first action."""
        return self.np_random.normal(size=N_OBS), float(action[0]), False, False, {}


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the environment; write into the test's own folder."""
    monkeypatch.chdir(tmp_path)
    gymnasium.register(BOX, Box, max_episode_steps=3)
    yield
    del gymnasium.registry[BOX]


def flags(write_folder: FolderWriter, folder: Path, *others: str) -> list[str]:
    return [str(folder), "--dataset", DATASET, "--dataset_path", str(write_folder.data), *others]


@pytest.mark.parametrize("new", [False, True])
def test_a_converted_training_plans(write_folder: FolderWriter, new: bool, capsys: pytest.CaptureFixture[str]) -> None:
    convert.main(flags(write_folder, write_folder(new=new, ema=True)))
    assert "nats per token better than equal logits" in capsys.readouterr().out
    search = ["--horizon", "2", "--beam_width", "2", "--max_context_transitions", "3", "--use_ema", "true"]
    named = ["--dataset", DATASET, "--gpt_loadpath", "gpt/training", "--environment", BOX]
    plan.main([*named, *search, "--n_rollouts", "1", "--verbose", "false"])
    (path,) = Path("logs").rglob("rollouts.jsonl")
    result = json.loads(path.read_text())
    assert (result["parameterization"], result["train_seed"]) == ("adacat" if new else "quantile", 7)
    assert (result["length"], result["checkpoint"]["step"]) == (3, 60)


def test_the_checkpoint_says_where_it_comes_from(write_folder: FolderWriter) -> None:
    convert.main(flags(write_folder, write_folder(), "--epoch", "2", "--exp_name", "old"))
    (path,) = Path("logs", DATASET, "old").glob("step_00000012/checkpoint.json")
    description = json.loads(path.read_text())
    assert description["converted"]["state"] == "state_2.pt"
    assert "stop token" in description["converted"]["notes"][0]
    assert description["dataset"]["label"] == "own.hdf5"


def test_a_checkpoint_is_replaced_only_on_demand(write_folder: FolderWriter) -> None:
    folder = write_folder()
    convert.main(flags(write_folder, folder))
    with pytest.raises(InputError, match="--overwrite"):
        convert.main(flags(write_folder, folder, "--epoch", "2"))
    convert.main(flags(write_folder, folder, "--epoch", "2", "--overwrite"))
    assert [path.name for path in Path("logs", DATASET, "gpt", "training").iterdir()] == ["step_00000012"]


def test_random_weights_are_warned_of(write_folder: FolderWriter, capsys: pytest.CaptureFixture[str]) -> None:
    convert.main(flags(write_folder, write_folder()))
    assert "warning: no better than equal logits" in capsys.readouterr().out
