"""Training of behaviour policies. What needs Stable-Baselines3 is skipped where that is not installed."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests import stand_in_sac
from trajectory_adacat.command_line import run_command
from trajectory_adacat.console import dispatch
from trajectory_adacat.datasets import behavior_training, load_dataset
from trajectory_adacat.datasets.behavior_training import (
    BehaviorTrainer,
    BehaviorTraining,
    Recorder,
    evaluate,
    write_replay,
)
from trajectory_adacat.datasets.collected import own_dataset
from trajectory_adacat.datasets.policy_files import read_policy
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.robots import ROBOTS
from trajectory_adacat.scripts import train_behavior


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    return tmp_path


def flags(folder: Path, steps: int, *others: str) -> list[str]:
    sizes = ["--random_steps", "20", "--evaluate_every", "15", "--evaluation_episodes", "1"]
    return ["--steps", str(steps), "--output", str(folder), *sizes, *others]


def record(steps: int) -> dict[str, np.ndarray]:
    env = Recorder(make_environment("trajectory_adacat/Hopper-v2"))
    env.reset(seed=0)
    noise = np.random.default_rng(0)
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(noise.uniform(-1, 1, 3).astype(np.float32))
        if terminated or truncated:
            env.reset()
    return env.take()


def test_the_recorder_keeps_every_transition_in_order() -> None:
    rows = record(60)
    follows = (rows["observations"][1:] == rows["next_observations"][:-1]).all(1)
    np.testing.assert_array_equal(follows, ~rows["terminals"][:-1])
    assert {name: array.shape for name, array in rows.items()} == {
        "observations": (60, 11),
        "actions": (60, 3),
        "next_observations": (60, 11),
        "rewards": (60,),
        "terminals": (60,),
        "timeouts": (60,),
        "infos/qpos": (60, 6),
        "infos/qvel": (60, 6),
    }
    np.testing.assert_allclose(rows["observations"][:, 0], rows["infos/qpos"][:, 1], atol=1e-6)  # the height


def test_the_replay_set_is_loaded_by_its_name(tmp_path: Path) -> None:
    rows = record(60)
    path = tmp_path / "cache" / "collected" / "hopper-medium-replay-collected.hdf5"
    write_replay(rows, own_dataset("hopper-medium-replay"), BehaviorTraining("hopper", seed=3), path, False)
    dataset = load_dataset("hopper-medium-replay-collected")
    assert dataset.verified
    assert sum(map(len, dataset.episodes)) == 60
    assert dataset.provenance["seed"] == 3
    assert dataset.notes == []
    with h5py.File(path) as file:
        assert file["timeouts"][-1] or file["terminals"][-1]


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(SystemExit) as raised:
        run_command(train_behavior.main, flags(tmp_path / "run", 30))
    assert raised.value.code == 2
    assert "trajectory-adacat[behavior]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--robot", "hoper"], "did you mean hopper"),
        (["--name", "walker2d-medium-replay"], "is of walker2d"),
        (["--name", "hopper-medium"], "Choose another name"),
        (["--steps", "0"], "--steps must be at least 1"),
    ],
)
def test_bad_flags_are_refused(home: Path, given: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_behavior.main([*given, "--output", str(home / "run")])
    assert not (home / "run").exists()


def test_a_score_is_turned_into_a_return() -> None:
    assert train_behavior.stop_return(ROBOTS["hopper"], 100.0) == pytest.approx(3234.3)
    assert train_behavior.stop_return(ROBOTS["hopper"], None) is None


@pytest.fixture(params=["stand-in", "Stable-Baselines3"])
def sac(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learner: a stand-in, and the library's where that is installed."""
    if request.param == "stand-in":
        monkeypatch.setitem(sys.modules, "stable_baselines3", stand_in_sac.MODULE)
    else:
        pytest.importorskip("stable_baselines3")


def test_a_training_writes_policy_and_replay_set_and_continues(
    sac: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train_behavior.main(flags(folder, 30))
    first = load_dataset("hopper-medium-replay-collected")
    assert sum(map(len, first.episodes)) == 30
    train_behavior.main(flags(folder, 45, "--overwrite"))
    progress = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [line["steps"] for line in progress] == [15, 30, 45]
    dataset = load_dataset("hopper-medium-replay-collected")
    assert sum(map(len, dataset.episodes)) == 45
    with h5py.File(first.file or "") as file:
        np.testing.assert_array_equal(file["observations"][:3], first.episodes[0].observations[:3])
    actor = read_policy(folder / "policy.npz").actor
    assert evaluate(ROBOTS["hopper"], actor, 1) == pytest.approx([progress[-1]["return"]], abs=1e-3)
    shown = capsys.readouterr().out
    assert "training from step 0; an evaluation every 15 steps" in shown
    assert "training from step 30" in shown
    assert "steps per second" in shown
    with pytest.raises(InputError, match=r"holds a training with --seed 0: pass these flags"):
        train_behavior.main(flags(folder, 45, "--overwrite", "--seed", "1"))


def test_a_training_ends_at_the_score(sac: None, tmp_path: Path) -> None:
    train_behavior.main(flags(tmp_path / "run", 1000, "--stop_score", "-1000"))
    assert sum(map(len, load_dataset("hopper-medium-replay-collected").episodes)) == 15


def progress_of(folder: Path) -> list[int]:
    return [json.loads(line)["steps"] for line in (folder / "progress.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("step", "number"), [(24, signal.SIGINT), (30, signal.SIGTERM), (40, signal.SIGINT)])
def test_a_training_goes_on_from_the_step_of_a_signal(
    sac: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    number: signal.Signals,
) -> None:
    """Between evaluations, at the step of one, and at the last step."""
    folder, argv = tmp_path / "run", flags(tmp_path / "run", 40)
    take, taken = Recorder.step, []

    def send(self: Recorder, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        taken.append(action)
        if len(taken) == step:
            os.kill(os.getpid(), number)
        return take(self, action)

    monkeypatch.setattr(Recorder, "step", send)
    with pytest.raises(SystemExit) as raised:
        run_command(dispatch, ["train-behavior", *argv])
    assert raised.value.code == 128 + number
    command = shlex.join(["trajectory-adacat", "train-behavior", *argv])
    expected = f"interrupted: what the training has saved is kept in {folder}. Go on with: {command}"
    assert capsys.readouterr().err.splitlines()[-1] == expected
    dispatch(shlex.split(command)[1:])
    assert f"training from step {step};" in capsys.readouterr().out
    assert progress_of(folder) == [15, 30, 40]
    assert sum(map(len, load_dataset("hopper-medium-replay-collected").episodes)) == 40


def test_a_signal_in_an_evaluation_leaves_it_to_the_next_start(
    sac: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, argv = tmp_path / "run", flags(tmp_path / "run", 30)

    def send(*_: object) -> list[float]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(behavior_training, "evaluate", send)
        train_behavior.main(argv)
    train_behavior.main(argv)
    assert progress_of(folder) == [15, 30]


def test_transitions_without_the_state_after_them_are_not_counted(
    sac: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it saves leaves the transitions of a step that is taken again."""
    folder = tmp_path / "run"

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    train_behavior.main(flags(folder, 15))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", kill)
        train_behavior.main(flags(folder, 24, "--overwrite"))
    assert len(list((folder / "rows").glob("*.npz"))) == 2
    train_behavior.main(flags(folder, 45, "--overwrite"))
    assert sum(map(len, load_dataset("hopper-medium-replay-collected").episodes)) == 45
    assert progress_of(folder) == [15, 30, 45]


def test_what_a_training_has_learned_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", stand_in_sac.MODULE)
    monkeypatch.setattr(stand_in_sac.SAC, "made", [])
    config = BehaviorTraining("hopper", evaluate_every=30, evaluation_episodes=1)
    trainer = BehaviorTrainer(config, ROBOTS["hopper"], tmp_path)
    list(trainer.run(24, None))
    again = BehaviorTrainer(config, ROBOTS["hopper"], tmp_path)
    assert again.steps == 24
    for name, weights in trainer.actor.weights.items():
        np.testing.assert_array_equal(weights, again.actor.weights[name])
    first, second = stand_in_sac.SAC.made
    assert second.log_ent_coef.item() == pytest.approx(first.log_ent_coef.item()) == pytest.approx(0.024)
    assert second._n_updates == first._n_updates == 24
    rows = again.rows()
    assert [transition[2].shape for transition in second.replay_buffer] == [(1, 3)] * 24
    kept = [np.asarray(transition[0]) for transition in second.replay_buffer]
    np.testing.assert_array_equal(kept, rows["observations"])
    assert second.replay_buffer[-1][5] == [{"TimeLimit.truncated": not rows["terminals"][-1]}]  # the episode is cut


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "state.pt").unlink(), r"state\.pt is missing.*another --output"),
        (lambda folder: (folder / "settings.json").write_text(""), r"settings\.json cannot be read"),
        (lambda folder: (folder / "settings.json").write_text("[1]"), r"settings\.json cannot be read"),
        (lambda folder: (folder / "state.pt").write_bytes(b"half"), r"state\.pt cannot be read"),
    ],
)
def test_a_damaged_training_is_named_and_keeps_its_transitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", stand_in_sac.MODULE)
    folder = tmp_path / "run"
    train_behavior.main(flags(folder, 30))
    damage(folder)
    with pytest.raises(InputError, match=message):
        train_behavior.main(flags(folder, 45, "--overwrite"))
    assert len(list((folder / "rows").glob("*.npz"))) == 2
