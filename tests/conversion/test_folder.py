"""Training folders are read without running what they hold."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from trajectory_adacat.conversion.folder import read_config, read_folder
from trajectory_adacat.errors import InputError

from .conftest import FolderWriter, random_weights


def test_the_latest_weights_are_those_of_the_largest_number(write_folder: FolderWriter) -> None:
    folder = write_folder()
    assert read_folder(folder).epoch == 10
    earlier = read_folder(folder, "2")
    assert earlier.state == "state_2.pt"
    torch.testing.assert_close(earlier.weights["pos_emb"], random_weights(False, 2)["pos_emb"])
    with pytest.raises(InputError, match=r"no epoch '3' in .*\[2, 10\]"):
        read_folder(folder, "3")


def test_averages_get_the_names_of_the_parameters(write_folder: FolderWriter) -> None:
    read = read_folder(write_folder(new=True, ema=True))
    assert read.average is not None and read.ema_decay == 0.995
    expected = {name: value for name, value in random_weights(True, 100).items() if not name.endswith("attn.mask")}
    torch.testing.assert_close(read.average, expected)


def test_averages_of_other_shapes_are_refused(write_folder: FolderWriter) -> None:
    folder = write_folder(ema=True)
    state = torch.load(folder / "state_10.pt", weights_only=True)
    state["ema"]["shadow_params"].pop()
    torch.save(state, folder / "state_10.pt")
    with pytest.raises(InputError, match="average does not fit"):
        read_folder(folder)


def test_objects_of_the_arguments_are_left_out(write_folder: FolderWriter) -> None:
    assert "mkdir" not in read_folder(write_folder()).arguments


class Command:
    """Its pickle runs a command."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def test_a_pickle_that_runs_code_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model_config.pkl"
    path.write_bytes(pickle.dumps(Command(f"touch {tmp_path / 'ran'}"), protocol=4))
    with pytest.raises(InputError, match="which no training folder needs"):
        read_config(path)
    assert not (tmp_path / "ran").exists()


def test_weights_that_run_code_are_not_opened(write_folder: FolderWriter, tmp_path: Path) -> None:
    folder = write_folder()
    torch.save({"model": Command(f"touch {tmp_path / 'ran'}")}, folder / "state_10.pt")
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_folder(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["data_config.pkl", "model_config.pkl", "trainer_config.pkl", "args.json"])
@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_missing_and_damaged_files_are_named(write_folder: FolderWriter, name: str, content: bytes | None) -> None:
    folder = write_folder()
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read_folder(folder)


def test_values_that_are_not_plain_are_refused(write_folder: FolderWriter) -> None:
    folder = write_folder(N=[1, 2])
    with pytest.raises(InputError, match=r"data_config.pkl holds more than plain values: N"):
        read_folder(folder)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no weights"):
        read_folder(tmp_path)
