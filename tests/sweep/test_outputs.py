"""Which checkpoints an unfinished training goes on from."""

import json
from pathlib import Path

from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.sweep.outputs import set_aside_damaged


def save(folder: Path, step: int, weights: str = "weights") -> Path:
    checkpoint = folder / f"step_{step:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_text(weights)
    files = {"model.safetensors": file_sha256(checkpoint / "model.safetensors")}
    (checkpoint / "checkpoint.json").write_text(json.dumps({"format": 2, "files": files}))
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
