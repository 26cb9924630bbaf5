"""The training command: what it leaves, how it goes on, and what it refuses while the disk stays as it was."""

import dataclasses
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.editing import edited
from trajectory_adacat.checkpoint import find_checkpoint, load_model, read_description
from trajectory_adacat.datasets import Dataset, load_dataset
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import train, training_arguments
from trajectory_adacat.training.lock import LOCK_FILE
from trajectory_adacat.training.logger import read_metrics
from trajectory_adacat.training.progress import sparkline
from trajectory_adacat.training.trainer import Trainer

Write = Callable[..., Path]
RunTrain = Callable[..., Path]
STATE = ("model.safetensors", "ema.safetensors", "normalizer.safetensors", "training.safetensors")
PARAMETERIZATIONS = ["adacat", "uniform", "quantile", "logistic_mixture"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def state(folder: Path, step: int) -> dict[str, bytes]:
    return {name: (find_checkpoint(folder, step) / name).read_bytes() for name in STATE}


FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format1"
OTHER_POSITIONS = {"adacat": "learned", "quantile": "rotary"}


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_a_training_leaves_checkpoints_metrics_and_its_settings(
    write_dataset: Write, run_train: RunTrain, parameterization: str
) -> None:
    folder = run_train(write_dataset(9, 8, 7, 6), parameterization=parameterization, holdout_fraction=0.25)
    assert sorted(path.name for path in folder.glob("step_*")) == ["step_00000003", "step_00000006"]
    lines = read_metrics(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for kind in ("train", "held_out", "held_out_ema"):
        for group in ("observation", "action", "reward", "value", "all"):
            assert np.isfinite(lines[-1][f"{kind}/{group}"])
    saved = json.loads((folder / "arguments.json").read_text())
    assert saved["n_steps"] == 6
    assert saved["parameterization"] == parameterization


def test_watching_shows_the_course_of_the_held_out_likelihood_in_a_terminal(
    write_dataset: Write, run_train: RunTrain, terminal: Any
) -> None:
    with terminal:
        folder = run_train(write_dataset(9, 8, 7, 6), watch="true", verbose="true")
    course = [line["held_out_ema/all"] for line in read_metrics(folder)]
    assert f"held-out nll {sparkline(course)} {course[0]:.4g} -> {course[-1]:.4g}" in terminal.text


def test_wandb_gets_the_metrics_and_the_settings(
    write_dataset: Write, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = run_train(write_dataset(9, 8, 7, 6), wandb="project")
    wandb.teardown()  # waits for the process that writes the file
    (path,) = folder.rglob("run-*.wandb")
    content = path.read_bytes()
    assert all(name.encode() in content for name in ("project", "held_out_ema/all", "parameterization"))


def test_wandb_is_named_before_anything_is_done_where_it_is_missing(
    write_dataset: Write, run_train: RunTrain, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    with pytest.raises(InputError, match=r"wandb is not installed: pip install 'trajectory-adacat\[wandb\]'"):
        run_train(write_dataset(9, 8, 7, 6), wandb="project")
    assert list(home.iterdir()) == []


def test_a_checkpoint_says_all_that_planning_needs(write_dataset: Write, run_train: RunTrain) -> None:
    path = write_dataset(9, 8, 7, 6)
    loaded = load_model(run_train(path, discount=0.9, seed=3, exp_name="run"))
    path.unlink()
    description = loaded.description
    assert description["dataset"]["name"] == "own"
    assert len(description["dataset"]["sha256"]) == 64
    assert description["dataset"]["verified"] is False
    assert (description["discount"], description["train_seed"], description["step"]) == (0.9, 3, 6)
    assert description["training"]["trainer"]["batch_size"] == 8
    assert loaded.normalizer.low.shape == (7,)


def test_the_mean_return_is_of_the_environments_rewards(write_dataset: Write, run_train: RunTrain) -> None:
    path = write_dataset(9, 8, 7, 6)
    with h5py.File(path) as file:
        total = float(np.sum(file["rewards"][()], dtype=np.float64))
    description = load_model(run_train(path, termination_penalty=-100)).description
    assert description["dataset"]["mean_return"] == pytest.approx(total / 4)


def test_bounds_are_taken_after_penalty_and_values_from_the_training_episodes(
    write_dataset: Write, run_train: RunTrain
) -> None:
    path = write_dataset(9, 8, 7, 6)
    reward, value = 5, 6
    bounds = load_model(run_train(path, termination_penalty=-100, discount=0.5, holdout_fraction=0)).normalizer
    assert float(bounds.low[reward]) == -100
    assert float(bounds.low[value]) < -90
    free = load_model(run_train(path, termination_penalty="none", exp_name="free", holdout_fraction=0)).normalizer
    assert float(free.low[reward]) > -100
    parts = load_model(run_train(path, termination_penalty="none", exp_name="parts", holdout_fraction=0.7)).normalizer
    assert bool((parts.low >= free.low).all())
    assert bool((parts.low > free.low).any())


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("standardize", [False, True])
def test_constant_dimensions_work(
    write_dataset: Write, run_train: RunTrain, parameterization: str, standardize: bool
) -> None:
    path = write_dataset(9, 8, 7, 6, constant=True)
    scaled = {} if parameterization in ("uniform", "quantile") else {"standardize": standardize}
    folder = run_train(path, parameterization=parameterization, termination_penalty="none", **scaled)
    assert all(np.isfinite(value) for value in read_metrics(folder)[-1].values())


def test_standardized_inputs_change_the_model_and_not_the_bounds(write_dataset: Write, run_train: RunTrain) -> None:
    path = write_dataset(9, 8, 7, 6)
    plain, standardized = (
        load_model(run_train(path, standardize=value, exp_name=f"run_{value}")) for value in (False, True)
    )
    means = [loaded.model.state_dict()["embedding.mean"].tolist() for loaded in (plain, standardized)]
    assert means[0] == [0.0] * 7
    assert all(0.2 < mean < 0.8 for mean in means[1][:3])
    assert standardized.normalizer.low.tolist() == plain.normalizer.low.tolist()


def test_short_episodes_and_clamped_values_are_told(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    run_train(write_dataset(1, 9, 1, 8, 7, 6), verbose="true", n_steps=1, holdout_fraction=0.5)
    said = capsys.readouterr().out
    assert "skipped 2 episodes shorter than two steps" in said
    assert "held-out values outside the training data's bounds" in said


def test_the_number_of_epochs_follows_the_datasets_size(write_dataset: Write, run_train: RunTrain) -> None:
    """26 windows are visited 140 / 26 times, which is 5 whole epochs of 4 batches of at most 8."""
    path = write_dataset(9, 8, 7, 6)
    folder = run_train(path, n_steps=None, n_epochs_ref=1.4e-4, holdout_fraction=0, preset="table4", n_saves=1)
    assert read_description(find_checkpoint(folder))["step"] == 5 * 4


# -- the termination penalty ---------------------------------------------------------------------------------


def goals(path: Path) -> Path:
    """Make every terminal of a file pay 1 and every other step 0."""
    with h5py.File(path, "a") as file:
        file["rewards"][:] = file["terminals"][()].astype(np.float32)
    return path


def test_the_goals_reward_stays_in_a_dataset_of_the_users_own(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_train(goals(write_dataset(9, 8, 7, 6)), verbose="true", holdout_fraction=0)
    loaded = load_model(folder)
    assert loaded.description["training"]["data"]["termination_penalty"] is None
    assert loaded.description["dataset"]["penalized_terminals"] is None
    assert (float(loaded.normalizer.low[5]), float(loaded.normalizer.high[5])) == (0, 1)
    assert json.loads((folder / "arguments.json").read_text())["termination_penalty"] is None
    assert "termination penalty" not in capsys.readouterr().out


def test_the_penalty_is_the_default_of_locomotion_data_known_by_name(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dataset(9, 8, 1, 7, 6, sizes=(11, 3))
    with h5py.File(path, "a") as file:
        file["rewards"][:] = np.where(file["terminals"][()], 2.5, 1)
    folder = run_train(path, dataset="hopper-medium-v2", preset="cpu", verbose="true")
    description = load_model(folder).description
    assert description["training"]["data"]["termination_penalty"] == -100
    assert json.loads((folder / "arguments.json").read_text())["termination_penalty"] == -100
    assert description["dataset"]["penalized_terminals"] == {"count": 4, "mean_reward": 2.5, "penalty": -100}
    said = capsys.readouterr().out
    assert "replaced the rewards of 4 terminal steps (mean 2.5) by -100; --termination_penalty none keeps them" in said
    run_train(
        path, dataset="hopper-medium-v2", preset="cpu", termination_penalty="none", exp_name="kept", verbose="true"
    )
    assert "termination penalty" not in capsys.readouterr().out


def test_a_penalty_that_is_asked_for_is_told(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_train(goals(write_dataset(9, 8, 7, 6)), verbose="true", termination_penalty=-3)
    assert load_model(folder).description["training"]["data"]["termination_penalty"] == -3
    assert "replaced the rewards of 4 terminal steps (mean 1) by -3" in capsys.readouterr().out


# -- what the loader found -----------------------------------------------------------------------------------


def test_what_the_loader_found_is_told_and_kept(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_train(write_dataset(9, 8, 7, 6), verbose="true")
    warning = "warning: the file has no next_observations and no timeouts"
    assert capsys.readouterr().out.count(warning) == 1
    assert read_description(find_checkpoint(folder))["dataset"]["notes"][0].startswith(warning)


def test_long_episodes_are_cut_by_name(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dataset(9, 8, 4, 3)
    folder = run_train(path, verbose="true", cut_episodes=4, holdout_fraction=0)
    said = capsys.readouterr().out
    assert "cut 2 episodes longer than 4 steps into pieces of 4" in said
    assert "own.hdf5: 7 episodes, 17 training windows" in said  # of 4, 4, 1; 4, 4; 4; 3 steps
    assert read_description(find_checkpoint(folder))["training"]["data"]["cut_episodes"] == 4
    with pytest.raises(InputError, match="--cut_episodes 4, not None"):
        run_train(path, resume="true", n_steps=9, holdout_fraction=0)


def test_a_training_that_cuts_nothing_records_what_earlier_ones_did(write_dataset: Write, run_train: RunTrain) -> None:
    """So that their results stand in one column of a table."""
    folder = run_train(write_dataset(9, 8, 7, 6))
    assert "cut_episodes" not in read_description(find_checkpoint(folder))["training"]["data"]


def test_an_attribute_of_bytes_reaches_the_checkpoint_as_text(write_dataset: Write, run_train: RunTrain) -> None:
    path = write_dataset(9, 8, 7, 6)
    with h5py.File(path, "a") as file:
        file.attrs["environment"] = np.bytes_(b"Pendulum-v1")
    assert read_description(find_checkpoint(run_train(path)))["dataset"]["environment"] == "Pendulum-v1"


def test_what_a_checkpoint_cannot_hold_is_refused_before_the_first_step(
    write_dataset: Write, run_train: RunTrain, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*given: Any) -> Dataset:
        return dataclasses.replace(load_dataset(*given), notes=[b"bytes"])

    monkeypatch.setattr(training_arguments, "load_dataset", load)
    with pytest.raises(InputError, match=r"cannot hold dataset.notes = \[b'bytes'\]"):
        run_train(write_dataset(9, 8, 7, 6))
    assert not (home / "logs").exists()


# -- one training in a folder --------------------------------------------------------------------------------


def test_a_second_training_in_a_folder_is_refused_while_the_first_one_runs(
    write_dataset: Write, run_train: RunTrain, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, messages = write_dataset(9, 8, 7, 6), []
    train_as_ever = Trainer.train

    def start_another(trainer: Trainer, *arguments: Any) -> None:
        for flags in ({}, {"overwrite": "true"}):
            before = contents(home)
            with pytest.raises(InputError) as raised:
                run_train(path, **flags)
            messages.append(str(raised.value))
            assert contents(home) == before
        train_as_ever(trainer, *arguments)

    monkeypatch.setattr(Trainer, "train", start_another)
    folder = run_train(path)
    expected = (
        f"Another training runs in {folder.relative_to(home)}: process {os.getpid()} on {socket.gethostname()}, since "
    )
    assert len(messages) == 2
    assert all(message.startswith(expected) for message in messages)
    assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3, 4, 5, 6]
    assert not (folder / LOCK_FILE).exists()


def test_checkpoints_that_appear_while_the_data_are_loaded_are_not_deleted(
    write_dataset: Write, run_train: RunTrain, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another training was quicker: started at the same time, it has ended before this one takes the lock."""
    path = write_dataset(9, 8, 7, 6)

    def load_slowly(*arguments: Any) -> Dataset:
        monkeypatch.setattr(training_arguments, "load_dataset", load_dataset)
        run_train(path)
        return load_dataset(*arguments)

    monkeypatch.setattr(training_arguments, "load_dataset", load_slowly)
    with pytest.raises(InputError, match=r"holds checkpoints.*--resume"):
        run_train(path)
    assert sorted(path.name for path in (home / "logs/own/gpt/adacat_0").glob("step_*")) == [
        "step_00000003",
        "step_00000006",
    ]


def test_a_logbase_that_is_a_file_is_refused(write_dataset: Write, run_train: RunTrain, home: Path) -> None:
    (home / "taken").write_text("precious")
    with pytest.raises(InputError, match=r"taken is a file.*choose another --logbase"):
        run_train(write_dataset(9, 8, 7, 6), logbase="taken")
    assert contents(home) == {"taken": b"precious"}


def test_a_logbase_that_cannot_be_written_is_refused(
    write_dataset: Write, run_train: RunTrain, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the refusal is simulated."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"cannot be written for lack of permission: choose another --logbase"):
        run_train(write_dataset(9, 8, 7, 6))
    assert contents(home) == {}


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (2**32, f"seed must lie between 0 and {2**32 - 1}"),
        (2**64, "--seed: 18446744073709551616 has more than 64 bits"),
    ],
)
def test_a_seed_beyond_32_bits_is_refused(write_dataset: Write, run_train: RunTrain, seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_train(write_dataset(9, 8, 7, 6), seed=seed)


# -- how it is computed --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_parts_of_a_batch_and_its_compilation_change_neither_the_method_nor_the_result(
    write_dataset: Write, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training in one way may be taken up in another one."""
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)  # type: ignore[func-returns-value]
    path = write_dataset(9, 8, 7, 6)
    whole = run_train(path, exp_name="whole", n_saves=6)
    folder = run_train(path, exp_name="parts", accumulate=3, compile="true", n_saves=6)
    assert len(compiled) == 1
    descriptions = [read_description(find_checkpoint(each))["training"] for each in (whole, folder)]
    assert descriptions[0] == descriptions[1]
    losses = [[line["loss"] for line in read_metrics(each)] for each in (whole, folder)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4, abs=1e-5)
    shutil.rmtree(folder / "step_00000006")
    run_train(path, exp_name="parts", resume="true", n_saves=6)


def test_bfloat16_is_another_method(write_dataset: Write, run_train: RunTrain) -> None:
    path = write_dataset(9, 8, 7, 6)
    folders = [run_train(path, exp_name=name, precision=name) for name in ("float32", "bfloat16")]
    descriptions = [read_description(find_checkpoint(folder))["training"] for folder in folders]
    assert [description["trainer"]["precision"] for description in descriptions] == ["float32", "bfloat16"]
    losses = [read_metrics(folder)[-1]["loss"] for folder in folders]
    assert losses[0] != losses[1] == pytest.approx(losses[0], abs=0.02)
    assert {tensor.dtype for tensor in load_model(folders[1]).model.state_dict().values()} == {torch.float32}


def test_a_profile_of_the_first_steps_is_left_beside_the_checkpoints(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_train(write_dataset(9, 8, 7, 6), profile="true", verbose="true")
    assert "aten::addmm" in (folder / "profile" / "profile.txt").read_text()
    assert "traceEvents" in json.loads((folder / "profile" / "trace.json").read_text())
    assert str(folder.relative_to(Path.cwd()) / "profile") in capsys.readouterr().out


@pytest.mark.parametrize(("dropout", "is_told"), [(0.0, False), (0.1, True)])
def test_slow_dropout_is_told(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str], dropout: float, is_told: bool
) -> None:
    run_train(write_dataset(9, 8, 7, 6), verbose="true", n_steps=1, attn_pdrop=dropout)
    assert ("--attn_pdrop 0" in capsys.readouterr().out) == is_told


class ReachedError(Exception):
    """The training would begin."""


@pytest.mark.parametrize(("name", "expected"), [("cuda", []), ("cuda:1", ["cuda:1"]), ("cpu:0", [])])
def test_a_gpu_is_made_the_current_one_where_it_is_named_by_number(
    write_dataset: Write, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, name: str, expected: list[str]
) -> None:
    """torch takes no other."""
    made_current: list[str] = []

    def set_device(device: torch.device) -> None:
        assert device.index is not None
        made_current.append(str(device))

    def begin(*_: object) -> None:
        raise ReachedError

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(train, "use_device", torch.device)
    monkeypatch.setattr(train, "make_trainer", begin)
    with pytest.raises(ReachedError):
        run_train(write_dataset(9, 8, 7, 6), device=name)
    assert made_current == expected


# -- going on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"attn_pdrop": 0.2, "resid_pdrop": 0.2, "embd_pdrop": 0.2}], ids=str)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_training_is_the_same_bits(
    write_dataset: Write, run_train: RunTrain, changes: dict[str, Any], optimizer: str
) -> None:
    path = write_dataset(9, 8, 7, 6)
    folder = run_train(path, optimizer=optimizer, **changes)
    whole, metrics = state(folder, 6), read_metrics(folder)
    shutil.rmtree(folder / "step_00000006")
    run_train(path, optimizer=optimizer, resume="true", **changes)
    assert state(folder, 6) == whole
    assert state(folder, 6) != state(folder, 3)
    for again, once in zip(read_metrics(folder), metrics, strict=True):
        assert {**again, "seconds_per_step": 0} == {**once, "seconds_per_step": 0}


def test_a_training_may_be_prolonged(write_dataset: Write, run_train: RunTrain) -> None:
    path = write_dataset(9, 8, 7, 6)
    folder = run_train(path)
    first = state(folder, 6)
    run_train(path, resume="true", n_steps=8, n_saves=1)
    assert sorted(p.name for p in folder.glob("step_*")) == ["step_00000003", "step_00000006", "step_00000008"]
    assert state(folder, 6) == first


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 4},
        {"seed": 1, "exp_name": "gpt/adacat_0"},
        {"learning_rate": 0.1},
        {"n_embd": 8},
        {"discount": 0.5},
        {"precision": "bfloat16"},
        {"optimizer": "adamw"},
        {"parameterization": "quantile", "exp_name": "gpt/adacat_0"},
    ],
    ids=str,
)
def test_a_training_is_not_resumed_with_other_settings(
    write_dataset: Write, run_train: RunTrain, home: Path, changes: dict[str, Any]
) -> None:
    path = write_dataset(9, 8, 7, 6)
    run_train(path)
    before = contents(home)
    with pytest.raises(InputError, match=f"--{next(iter(changes))} "):
        run_train(path, resume="true", n_steps=9, **changes)
    assert contents(home) == before


CONSTANT_SMOOTHING = {"smooth_start": "none", "smooth_bins": "0"}
UNSMOOTHED = {**CONSTANT_SMOOTHING, "smooth_coeff": 0}


@pytest.mark.parametrize(
    ("parameterization", "changes", "message"),
    [
        ("adacat", {"N": 7}, "--N has no effect with --parameterization adacat: it belongs to uniform and quantile"),
        ("uniform", {"n_bins": 7}, "--n_bins has no effect with --parameterization uniform: it belongs to adacat"),
        ("quantile", {"smooth_coeff": 0.1}, "--smooth_coeff has no effect with --parameterization quantile"),
        ("adacat", {"optimizer": "adamw", "muon_learning_rate": 0.1}, "--muon_learning_rate has no effect"),
        ("adacat", {"n_epochs_ref": 3}, "--n_epochs_ref has no effect with --n_steps 6"),
        ("adacat", {"lr_decay": "false", "warmup_epochs": 2}, "--warmup_epochs has no effect with --lr_decay false"),
        ("adacat", {"lr_schedule_end": "rise"}, "--lr_schedule_end has no effect with --final_epochs none"),
        (
            "adacat",
            {"smooth_fraction": 0.5, "smooth_start": "none"},
            "--smooth_fraction has no effect with --smooth_start none",
        ),
        ("adacat", {**UNSMOOTHED, "smooth_type": "normal"}, "--smooth_type has no effect with --smooth_coeff 0"),
    ],
)
def test_a_flag_without_effect_is_refused(
    write_dataset: Write, run_train: RunTrain, parameterization: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_train(write_dataset(9, 8, 7, 6), parameterization=parameterization, **changes)


def test_runs_that_differ_in_an_idle_setting_are_one_method_and_resume_each_other(
    write_dataset: Write, run_train: RunTrain, tmp_path: Path
) -> None:
    path = write_dataset(9, 8, 7, 6)
    folders = []
    for n_bins, rate in ((50, 0.02), (100, 0.5)):
        config = tmp_path / f"config_{n_bins}.py"
        values = {"N": n_bins, "muon_learning_rate": rate, "optimizer": "adamw"}
        config.write_text(f"PRESETS = {{'p': {{'train': {values}}}}}\nDEFAULT_PRESETS = {{'*': 'p'}}\n")
        folders.append(run_train(path, exp_name=f"run_{n_bins}", config=config))
    first, second = (read_description(find_checkpoint(folder))["training"] for folder in folders)
    assert first == second
    shutil.rmtree(folders[0] / "step_00000006")
    run_train(path, exp_name="run_50", config=tmp_path / "config_100.py", resume="true")
    assert state(folders[0], 6) == state(folders[1], 6)


@pytest.mark.parametrize("name", ["adacat", "quantile"])
def test_a_checkpoint_of_format_1_is_resumed(write_dataset: Write, run_train: RunTrain, home: Path, name: str) -> None:
    path, folder = write_dataset(9, 8, 7, 6), home / "logs" / "own" / name
    shutil.copytree(FORMAT_1 / name, folder / "step_00000006")
    with edited(folder / "step_00000006") as description:
        description["dataset"]["sha256"] = file_sha256(path)
    adacat = {"positions": "rotary", "standardize": "true", "embedding": "per_dimension", "optimizer": "muon"}
    changes = {**adacat, **CONSTANT_SMOOTHING} if name == "adacat" else {"parameterization": name}
    changes["termination_penalty"] = "-100"  # then the default of every dataset
    with pytest.raises(InputError, match="--positions"):
        run_train(path, exp_name=name, resume="true", n_steps=8, **{**changes, "positions": OTHER_POSITIONS[name]})
    run_train(path, exp_name=name, resume="true", n_steps=8, **changes)
    assert read_description(find_checkpoint(folder))["step"] == 8


def forget(folder: Path, flag: str) -> None:
    """Leaves a flag out of what the checkpoints of ``folder`` say, as if they were older than it."""
    for path in folder.glob("step_*"):
        with edited(path) as description:
            del description["training"]["trainer"][flag]
            for model in (description["model"], description["training"]["model"]):
                del model["offset_init"]  # older models all started normal, as the preset's do


def test_a_checkpoint_older_than_a_flag_was_trained_with_the_flags_default(
    write_dataset: Write, run_train: RunTrain, home: Path
) -> None:
    path = write_dataset(9, 8, 7, 6)
    forget(run_train(path), "precision")
    before = contents(home)
    with pytest.raises(InputError, match="--precision float32, not bfloat16"):
        run_train(path, resume="true", n_steps=9, precision="bfloat16")
    assert contents(home) == before
    run_train(path, resume="true", n_steps=9)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"zzz": 1}, "TrainConfig has no setting 'zzz'"),
        ({"model": {"head": {"name": "gauss"}}}, "parameterization must be one of .* got 'gauss'"),
        ({"trainer": {"batch_size": "8"}}, "batch_size is '8', which is not of type int"),
    ],
)
def test_a_checkpoint_with_damaged_settings_is_not_resumed(
    write_dataset: Write, run_train: RunTrain, training: dict[str, Any], message: str
) -> None:
    path = write_dataset(9, 8, 7, 6)
    with edited(find_checkpoint(run_train(path))) as description:
        description["training"] = training
    with pytest.raises(InputError, match=f"settings of .*step_00000006 cannot be read: {message}"):
        run_train(path, resume="true", n_steps=9)


def test_a_training_is_not_resumed_on_other_data(write_dataset: Write, run_train: RunTrain, home: Path) -> None:
    run_train(write_dataset(9, 8, 7, 6))
    before = contents(home)
    with pytest.raises(InputError, match="other data"):
        run_train(write_dataset(9, 8, 7, 6, seed=1), resume="true")
    assert contents(home) == before


def test_a_training_is_not_resumed_with_fewer_steps_than_are_done(
    write_dataset: Write, run_train: RunTrain, home: Path
) -> None:
    path = write_dataset(9, 8, 7, 6)
    run_train(path)
    before = contents(home)
    with pytest.raises(InputError, match=r"has done \d+ steps, more than the 3 of this training"):
        run_train(path, resume="true", n_steps=3)
    assert contents(home) == before


def test_there_must_be_a_checkpoint_to_resume(write_dataset: Write, run_train: RunTrain, home: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        run_train(write_dataset(9, 8, 7, 6), resume="true")
    assert contents(home) == {}


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "training.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_is_not_resumed(write_dataset: Write, run_train: RunTrain, home: Path, name: str) -> None:
    path = write_dataset(9, 8, 7, 6)
    damaged = find_checkpoint(run_train(path)) / name
    damaged.write_bytes(damaged.read_bytes()[:-3])
    before = contents(home)
    with pytest.raises(InputError, match=name):
        run_train(path, resume="true", n_steps=9)
    assert contents(home) == before


def test_checkpoints_are_neither_overwritten_nor_mixed_unless_told(
    write_dataset: Write, run_train: RunTrain, home: Path
) -> None:
    path = write_dataset(9, 8, 7, 6)
    folder = run_train(path)
    before = contents(home)
    with pytest.raises(InputError, match=r"--resume.*--overwrite"):
        run_train(path, n_steps=4)
    assert contents(home) == before
    run_train(path, n_steps=4, overwrite="true")
    assert sorted(p.name for p in folder.glob("step_*")) == ["step_00000002", "step_00000004"]
    assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3, 4]


def test_both_flags_exclude_each_other(write_dataset: Write, run_train: RunTrain, home: Path) -> None:
    path = write_dataset(9, 8, 7, 6)
    run_train(path)
    before = contents(home)
    with pytest.raises(InputError, match="--resume"):
        run_train(path, resume="true", overwrite="true")
    assert contents(home) == before


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"batch_size": -4},
        {"accumulate": 0},
        {"precision": "float16"},
        {"batch_size": 0, "n_steps": None, "n_epochs_ref": 1},
        {"n_steps": 0},
        {"n_steps": -1},
        {"n_epochs_ref": 0},
        {"n_epochs_ref": -5, "n_steps": None},
        {"n_epochs_ref": "nan", "n_steps": None},
        {"n_layer": 0},
        {"n_head": -1},
        {"n_embd": 0},
        {"n_bins": 0},
        {"N": 0, "parameterization": "uniform"},
        {"N": -3, "parameterization": "quantile"},
        {"subsampled_sequence_length": 0},
        {"step": 0},
        {"threads": 0},
        {"n_saves": 0},
        {"log_freq": -1},
        {"seed": -1},
        {"learning_rate": "nan"},
        {"learning_rate": 0},
        {"smooth_coeff": -0.1},
        {"attn_pdrop": 1.0},
        {"ema_decay": 1.0},
        {"discount": 1.5},
        {"discount": 0},
        {"holdout_fraction": 1.0},
        {"holdout_fraction": -0.1},
        {"termination_penalty": "nan"},
        {"termination_penalty": "inf"},
        {"cut_episodes": 1},
        {"parameterization": "gaussian"},
        {"embedding": "two_hot"},
        {"optimizer": "sgd"},
        {"smooth_type": "triangle"},
        {"lr_schedule_end": "fall"},
        {"device": "gpu"},
        {"learning_rat": 1},
        {"batch_size": 2.5},
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_its_flag_and_nothing_is_deleted(
    write_dataset: Write, run_train: RunTrain, home: Path, changes: dict[str, Any]
) -> None:
    """Not even what the run was told to overwrite."""
    path = write_dataset(9, 8, 7, 6)
    kept = home / "logs" / "own" / "run" / "step_00000001"
    kept.mkdir(parents=True)
    (kept / "checkpoint.json").write_text("precious")
    with pytest.raises(InputError, match=next(iter(changes))):
        run_train(path, exp_name="run", overwrite="true", **changes)
    assert contents(home) == {"logs/own/run/step_00000001/checkpoint.json": b"precious"}


def damage_none(path: Path) -> None:
    path.unlink()


def damage_text(path: Path) -> None:
    path.write_text("not a dataset")


def damage_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def damage_key(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["rewards"]


def damage_nan(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["actions"][3, 0] = np.nan


def damage_short(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["terminals"][:] = True


@pytest.mark.parametrize("damage", [damage_none, damage_text, damage_half, damage_key, damage_nan, damage_short])
def test_a_bad_dataset_is_refused_and_nothing_is_deleted(
    write_dataset: Write, run_train: RunTrain, home: Path, damage: Callable[[Path], None]
) -> None:
    path = write_dataset(9, 8, 7, 6)
    run_train(path)
    damage(path)
    before = contents(home)
    with pytest.raises(InputError):
        run_train(path, overwrite="true")
    assert contents(home) == before


def test_an_unknown_dataset_is_refused_with_the_nearest_name(home: Path) -> None:
    with pytest.raises(InputError, match="hopper-medium-v2"):
        train.main(["--dataset", "hoper-medium-v2"])
    assert contents(home) == {}


def test_a_single_episode_needs_no_held_out_part(write_dataset: Write, run_train: RunTrain) -> None:
    path = write_dataset(12)
    with pytest.raises(InputError, match="--holdout_fraction 0"):
        run_train(path)
    assert not [name for name in read_metrics(run_train(path, holdout_fraction=0))[0] if name.startswith("held_out")]


def test_a_diverging_training_ends_with_an_error_and_keeps_what_was_saved(
    write_dataset: Write, run_train: RunTrain, home: Path
) -> None:
    path = write_dataset(9, 8, 7, 6)
    with pytest.raises(InputError, match="--learning_rate"):
        run_train(path, learning_rate=1e38, optimizer="adamw", lr_decay="false", n_saves=6)
    for folder in (home / "logs" / "own" / "gpt" / "adacat_0").glob("step_*"):
        assert all(p.isfinite().all() for p in load_model(folder).model.parameters())


def test_the_behaviours_own_likelihood_is_logged_printed_and_recorded(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dataset(9, 8, 7, 6)
    with h5py.File(path, "a") as file:
        file["infos/action_log_probs"] = np.full(30, 1.5)
    folder = run_train(path, verbose="true")
    loaded = load_model(folder)
    spans = (loaded.normalizer.high - loaded.normalizer.low)[3:5].numpy()
    expected = -(1.5 + np.log(spans).sum()) / 2
    assert loaded.description["dataset"]["behavior_action_nll"] == pytest.approx(expected)
    assert [line["behavior/action"] for line in read_metrics(folder)] == pytest.approx([expected] * 6)
    assert f"under the policy that took them: {expected:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{}, {"holdout_fraction": 0}], ids=str)
def test_nothing_is_logged_of_an_unknown_behaviour_or_without_held_out_episodes(
    write_dataset: Write, run_train: RunTrain, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    path = write_dataset(9, 8, 7, 6)
    if changes:
        with h5py.File(path, "a") as file:
            file["infos/action_log_probs"] = np.full(30, 1.5)
    folder = run_train(path, verbose="true", **changes)
    assert load_model(folder).description["dataset"]["behavior_action_nll"] is None
    assert all("behavior/action" not in line for line in read_metrics(folder))
    assert "under the policy" not in capsys.readouterr().out
