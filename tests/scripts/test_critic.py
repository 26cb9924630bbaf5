"""The critic command: what it leaves, how it goes on, and what it refuses."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from trajectory_adacat.checkpoint import find_checkpoint, load_model
from trajectory_adacat.console import dispatch
from trajectory_adacat.critic.checkpoint import load_critic
from trajectory_adacat.critic.trainer import CriticTrainer
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import critic
from trajectory_adacat.training.lock import LOCK_FILE
from trajectory_adacat.training.logger import read_metrics
from trajectory_adacat.training.progress import sparkline

Write = Callable[..., Path]
RunTrain = Callable[..., Path]
FILES = ("critic.safetensors", "training.safetensors")
FLAGS = {
    "hidden_size": "8",
    "n_steps": "20",
    "mc_steps": "10",
    "batch_size": "8",
    "n_saves": "2",
    "log_freq": "5",
    "holdout_fraction": "0.25",
    "verbose": "false",
}


@pytest.fixture
def run_critic(home: Path) -> Callable[..., Path]:
    """Trains a tiny critic; keywords change flags. Returns the experiment's folder."""

    def run(path: Path, dataset: str = "own", **changes: object) -> Path:
        flags = {**FLAGS, "dataset": dataset, "dataset_path": str(path), **changes}
        critic.main([text for name, value in flags.items() for text in (f"--{name}", str(value))])
        return home / "logs" / dataset / str(changes.get("exp_name", f"critic/iql_{changes.get('seed', 0)}"))

    return run


RunCritic = Callable[..., Path]


def state(folder: Path, step: int) -> dict[str, bytes]:
    return {name: (find_checkpoint(folder, step) / name).read_bytes() for name in FILES}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_watching_shows_the_course_of_the_held_out_error_in_a_terminal(
    write_dataset: Write, run_critic: RunCritic, terminal: Any
) -> None:
    with terminal:
        folder = run_critic(write_dataset(9, 8, 7, 6), watch="true", verbose="true")
    course = [line["held_out/td_error"] for line in read_metrics(folder)]
    assert f"held-out td error {sparkline(course)} " in terminal.text


def test_wandb_gets_the_metrics(write_dataset: Write, run_critic: RunCritic, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = run_critic(write_dataset(9, 8, 7, 6), wandb="project")
    wandb.teardown()  # waits for the process that writes the file
    (path,) = folder.rglob("run-*.wandb")
    assert b"held_out/td_error" in path.read_bytes()


def test_a_training_leaves_a_critic_that_needs_no_data(write_dataset: Write, run_critic: RunCritic) -> None:
    path = write_dataset(9, 8, 7, 6)
    folder = run_critic(path, discount=0.9, seed=3, termination_penalty=-5)
    path.unlink()
    loaded = load_critic(folder)
    description = loaded.description
    assert (description["discount"], description["train_seed"], description["step"]) == (0.9, 3, 20)
    assert description["termination_penalty"] == -5
    assert description["critic"]["networks"]["hidden_size"] == 8
    assert (description["dataset"]["name"], description["dataset"]["label"]) == ("own", "own.hdf5")
    assert len(description["dataset"]["sha256"]) == 64
    assert description["dataset"]["penalized_terminals"]["count"] == 4
    assert loaded.critic.q(torch.zeros(5, 3), torch.zeros(5, 2)).shape == (2, 5)
    lines = read_metrics(folder)
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert all(np.isfinite(value) for line in lines for value in line.values())
    assert (folder / "arguments.json").exists()
    assert not (folder / LOCK_FILE).exists()


def test_the_command_is_one_of_the_packages(write_dataset: Write, run_critic: RunCritic, home: Path) -> None:
    flags = {**FLAGS, "dataset": "own", "dataset_path": str(write_dataset(9, 8)), "holdout_fraction": "0.5"}
    dispatch(["critic", *(text for name, value in flags.items() for text in (f"--{name}", value))])
    assert load_critic(home / "logs" / "own" / "critic" / "iql_0").description["step"] == 20


def test_critic_and_model_of_a_seed_hold_out_the_same_episodes_and_scale_alike(
    write_dataset: Write, run_critic: RunCritic, run_train: RunTrain
) -> None:
    path = write_dataset(9, 8, 7, 6)
    options = {"seed": 2, "exp_name": "mine", "termination_penalty": -5, "discount": 0.9}
    model = load_model(run_train(path, **options)).normalizer
    loaded = load_critic(run_critic(path, **{**options, "exp_name": "critic"}))
    assert torch.equal(loaded.normalizer.low, model.low)
    assert torch.equal(loaded.normalizer.high, model.high)
    assert torch.equal(loaded.critic.action_low, model.low[3:5])


def test_what_was_found_is_told(
    write_dataset: Write, run_critic: RunCritic, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dataset(9, 8, 1, 6)
    with h5py.File(path, "r+") as file:
        terminals = file["terminals"][()]
        del file["terminals"]
        file["terminals"] = terminals & (np.arange(len(terminals)) != len(terminals) - 1)
        file["timeouts"] = terminals
    run_critic(path, verbose="true", termination_penalty=-5)
    printed = capsys.readouterr().out
    assert "own.hdf5: 4 episodes, " in printed
    assert "held out; critic of " in printed
    assert "termination penalty: replaced the rewards of 2 terminal steps" in printed
    assert "skipped 1 episodes shorter than two steps" in printed
    assert "left out 1 last transitions of episodes without a final observation" in printed


def test_a_resumed_training_is_the_same_bits(write_dataset: Write, run_critic: RunCritic) -> None:
    path = write_dataset(9, 8, 7, 6)
    folder = run_critic(path)
    whole, metrics = state(folder, 20), read_metrics(folder)
    shutil.rmtree(folder / "step_00000020")
    run_critic(path, resume="true")
    assert state(folder, 20) == whole
    for again, once in zip(read_metrics(folder), metrics, strict=True):
        assert {**again, "seconds_per_step": 0} == {**once, "seconds_per_step": 0}
    run_critic(path, resume="true", n_steps=24)
    assert load_critic(folder).description["step"] == 24


@pytest.mark.parametrize(
    "changes",
    [
        {"expectile": 0.7},
        {"mc_steps": 5},
        {"hidden_size": 4},
        {"discount": 0.5},
        {"termination_penalty": -1},
        {"seed": 1, "exp_name": "critic/iql_0"},
    ],
    ids=str,
)
def test_a_training_is_not_resumed_with_other_settings(
    write_dataset: Write, run_critic: RunCritic, home: Path, changes: dict[str, Any]
) -> None:
    path = write_dataset(9, 8, 7, 6)
    run_critic(path)
    before = contents(home)
    with pytest.raises(InputError, match=f"--{next(iter(changes))} "):
        run_critic(path, resume="true", n_steps=24, **changes)
    assert contents(home) == before


def test_a_training_is_not_resumed_on_other_data(write_dataset: Write, run_critic: RunCritic) -> None:
    run_critic(write_dataset(9, 8, 7, 6))
    with pytest.raises(InputError, match="was trained on other data"):
        run_critic(write_dataset(9, 8, 7, 6, seed=1), resume="true", n_steps=24)


def test_a_training_is_not_resumed_with_fewer_steps_than_are_done(
    write_dataset: Write, run_critic: RunCritic, home: Path
) -> None:
    path = write_dataset(9, 8, 7, 6)
    run_critic(path)
    before = contents(home)
    with pytest.raises(InputError, match=r"has done \d+ steps, more than the 3 of this training"):
        run_critic(path, resume="true", n_steps=3)
    assert contents(home) == before


def test_there_must_be_a_critic_to_resume(write_dataset: Write, run_critic: RunCritic, run_train: RunTrain) -> None:
    path = write_dataset(9, 8, 7, 6)
    with pytest.raises(InputError, match=r"no checkpoint in .* another --exp_name"):
        run_critic(path, resume="true")
    run_train(path, exp_name="model")
    with pytest.raises(InputError, match="is that of a model, not of a critic"):
        run_critic(path, exp_name="model", resume="true")


def test_checkpoints_are_replaced_only_if_told(write_dataset: Write, run_critic: RunCritic, home: Path) -> None:
    path = write_dataset(9, 8, 7, 6)
    folder = run_critic(path)
    before = contents(home)
    with pytest.raises(InputError, match=r"holds checkpoints.*--resume.*--overwrite"):
        run_critic(path, n_steps=10)
    assert contents(home) == before
    run_critic(path, n_steps=10, overwrite="true")
    assert sorted(each.name for each in folder.glob("step_*")) == ["step_00000005", "step_00000010"]


def test_a_second_training_in_a_folder_is_refused_while_the_first_one_runs(
    write_dataset: Write, run_critic: RunCritic, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, messages = write_dataset(9, 8, 7, 6), []
    train_as_ever = CriticTrainer.train

    def start_another(trainer: CriticTrainer) -> None:
        with pytest.raises(InputError) as raised:
            run_critic(path)
        messages.append(str(raised.value))
        train_as_ever(trainer)

    monkeypatch.setattr(CriticTrainer, "train", start_another)
    run_critic(path)
    assert len(messages) == 1
    assert f"process {os.getpid()}" in messages[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expectile": 1}, "expectile must lie between 0 and 1"),
        ({"n_critics": 1}, "n_critics must be at least 2"),
        ({"threads": 0}, "--threads must be at least 1"),
        ({"device": "nowhere"}, "--device nowhere"),
        ({"n_layer": 2}, "There is no flag --n_layer"),
        ({"preset": "nothing"}, "There is no --preset nothing"),
    ],
    ids=str,
)
def test_a_bad_flag_is_refused_and_leaves_nothing(
    write_dataset: Write, run_critic: RunCritic, home: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_critic(write_dataset(9, 8, 7, 6), **changes)
    assert contents(home) == {}


def test_a_configuration_may_have_a_section_for_critics(
    write_dataset: Write, run_critic: RunCritic, home: Path
) -> None:
    """The sections of other commands do not matter to it."""
    (home / "mine.py").write_text(
        "PRESETS = {'a': {'critic': {'expectile': 0.8}, 'train:adacat': {'n_bins': 3}, 'plan': {'horizon': 2}}}\n"
        "DEFAULT_PRESETS = {'*': 'a'}\n"
    )
    path = write_dataset(9, 8, 7, 6)
    description = load_critic(run_critic(path, config="mine.py")).description
    assert description["training"]["expectile"] == 0.8
    (home / "mine.py").write_text("PRESETS = {'a': {'critic': {'horizon': 2}}}\nDEFAULT_PRESETS = {'*': 'a'}\n")
    with pytest.raises(InputError, match=r"\['critic'\] in .*mine.py has an unknown key 'horizon'"):
        run_critic(path, config="mine.py", exp_name="b")
