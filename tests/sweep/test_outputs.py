"""Which checkpoints an unfinished training goes on from."""

import json
from pathlib import Path
from typing import Any

from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.sweep.outputs import is_trained, set_aside_damaged


def save(folder: Path, step: int, weights: str = "weights", **description: Any) -> Path:
    checkpoint = folder / f"step_{step:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_text(weights)
    files = {"model.safetensors": file_sha256(checkpoint / "model.safetensors")}
    (checkpoint / "checkpoint.json").write_text(json.dumps({"format": 2, "step": step, "files": files, **description}))
    return checkpoint


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_damaged_checkpoints_after_the_last_whole_one_are_set_aside(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    (tmp_path / "step_00000001" / "model.safetensors").unlink()  # earlier than the last whole one: not looked at
    (tmp_path / "step_00000003" / "model.safetensors").write_text("other")
    (tmp_path / "step_00000004" / "checkpoint.json").write_text("{")
    assert set_aside_damaged(tmp_path)
    kept, damaged = ["step_00000001", "step_00000002"], ["damaged_step_00000003", "damaged_step_00000004"]
    assert names(tmp_path) == [*damaged, *kept]
    (save(tmp_path, 4) / "model.safetensors").write_text("damaged again")
    assert set_aside_damaged(tmp_path)
    assert names(tmp_path) == [*damaged, *kept]


def test_without_a_whole_checkpoint_a_training_starts_anew(tmp_path: Path) -> None:
    assert not set_aside_damaged(tmp_path / "missing")
    (save(tmp_path, 1) / "checkpoint.json").unlink()
    assert not set_aside_damaged(tmp_path)
    assert names(tmp_path) == ["damaged_step_00000001"]


def test_a_training_whose_last_evaluation_was_interrupted_is_not_done(tmp_path: Path) -> None:
    """Its likelihood is missing, and its checkpoint is replaced when it goes on."""
    ended: dict[str, Any] = {"training": {"n_steps": 4}, "train_seed": 0, "n_steps": 4}
    save(tmp_path / "logged", 4, **ended)
    save(tmp_path / "interrupted", 4, **ended, unlogged={"loss": 1.0})
    assert is_trained(tmp_path / "logged", ended["training"], 0, 4)
    assert not is_trained(tmp_path / "interrupted", ended["training"], 0, 4)


def test_a_checkpoint_that_was_being_replaced_is_given_back(tmp_path: Path) -> None:
    save(tmp_path, 4).rename(tmp_path / ".step_00000004.replaced")
    assert set_aside_damaged(tmp_path)
    assert names(tmp_path) == ["step_00000004"]
