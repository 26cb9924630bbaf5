"""The training loop of a critic: its two phases, its logs, and bit-exact resumption."""

import math
from pathlib import Path

import pytest
import torch

from trajectory_adacat.checkpoint import find_checkpoint, read_description, read_tensors
from trajectory_adacat.critic.checkpoint import KIND
from trajectory_adacat.critic.trainer import CriticTrainer
from trajectory_adacat.errors import InputError
from trajectory_adacat.training.logger import read_metrics

from .conftest import MakeTrainer

FILES = ("critic.safetensors", "training.safetensors")


def tensors(folder: Path, step: int, name: str) -> dict[str, torch.Tensor]:
    path = find_checkpoint(folder, step)
    return read_tensors(path, name, read_description(path, KIND))


def state(folder: Path, step: int) -> dict[str, bytes]:
    return {name: (find_checkpoint(folder, step) / name).read_bytes() for name in FILES}


def resume(trainer: CriticTrainer, folder: Path, step: int) -> CriticTrainer:
    trainer.load_state(step, *(tensors(folder, step, name) for name in FILES))
    return trainer


@pytest.mark.parametrize("mc_steps", [0, 3, 6, 99])
def test_resuming_is_bit_exact(make_trainer: MakeTrainer, tmp_path: Path, mc_steps: int) -> None:
    make_trainer(tmp_path / "whole", mc_steps=mc_steps).train()
    torch.manual_seed(99)  # a new process has another random state
    resume(make_trainer(tmp_path / "again", mc_steps=mc_steps), tmp_path / "whole", 4).train()
    assert state(tmp_path / "again", 8) == state(tmp_path / "whole", 8)
    assert state(tmp_path / "whole", 8) != state(tmp_path / "whole", 4)
    timed = {"seconds_per_step": 0}
    logs = [[{**line, **timed} for line in read_metrics(tmp_path / name)] for name in ("whole", "again")]
    assert logs[0][4:] == logs[1]


def test_every_step_draws_other_transitions(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, learning_rate=1e-30, mc_steps=8).train()  # the weights stay as they are
    assert len({line["q_loss"] for line in read_metrics(tmp_path)}) == 8


def test_seeds_draw_other_batches(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_trainer(tmp_path / str(seed), seed=seed).train()
    assert state(tmp_path / "0", 8) != state(tmp_path / "1", 8)


def test_the_expectile_matters_after_the_start_alone(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    for expectile in (0.5, 0.9):
        make_trainer(tmp_path / str(expectile), mc_steps=4, expectile=expectile).train()
    assert state(tmp_path / "0.5", 4) == state(tmp_path / "0.9", 4)
    assert state(tmp_path / "0.5", 8) != state(tmp_path / "0.9", 8)


def test_the_target_follows_the_networks_at_its_rate(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, n_steps=2, target_rate=0.25)
    expected = {name: value.clone() for name, value in trainer.critic.q_networks.state_dict().items()}
    trainer.train()
    for step in (1, 2):
        weights = tensors(tmp_path, step, "critic.safetensors")
        expected = {name: value + 0.25 * (weights[f"q_networks.{name}"] - value) for name, value in expected.items()}
        saved = tensors(tmp_path, step, "training.safetensors")
        for name, value in expected.items():
            torch.testing.assert_close(saved[f"target/{name}"], value)


def test_every_logged_line_has_losses_errors_and_calibration(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, log_freq=3).train()
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [3, 6, 8]
    measured = ("td_error", "value", "return", "rank_correlation", "start_value", "start_return")
    for line in lines:
        names = ["q_loss", "v_loss", "learning_rate", "seconds_per_step", *(f"held_out/{name}" for name in measured)]
        assert all(math.isfinite(line[name]) for name in names)
    assert lines[0]["held_out/return"] == lines[2]["held_out/return"]
    assert lines[0]["learning_rate"] == pytest.approx(3e-4 * 0.5 * (1 + math.cos(math.pi * 2 / 8)))


def test_without_held_out_episodes_losses_are_logged(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path, with_held_out=False).train()
    assert set(read_metrics(tmp_path)[0]) == {"step", "q_loss", "v_loss", "learning_rate", "seconds_per_step"}


def test_a_critic_that_diverges_is_not_saved(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower --learning_rate"):
        make_trainer(tmp_path, learning_rate=1e38, n_saves=1, log_freq=100).train()
    assert not list(tmp_path.glob("step_*"))


def test_a_checkpoint_of_another_critic_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(tmp_path).train()
    with pytest.raises(InputError, match="--resume holds another critic"):
        resume(make_trainer(tmp_path / "other", hidden_size=4), tmp_path, 8)


def test_what_json_cannot_hold_is_refused_before_the_first_step(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    with pytest.raises(InputError, match="name"):
        CriticTrainer(trainer.critic, *[None] * 2, trainer.config, trainer.run, tmp_path, {"name": {1}})  # type: ignore[arg-type]
