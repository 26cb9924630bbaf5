"""Tiny datasets and trainings for the commands."""

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import wavfile

from trajectory_adacat.density.image_data import TEST_FILE, TRAINING_FILE
from trajectory_adacat.scripts import train

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a cache of the test's own."""
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def write_file(
    path: Path, lengths: tuple[int, ...], sizes: tuple[int, int] = (3, 2), seed: int = 0, constant: bool = False
) -> Path:
    """Writes a D4RL-format file of episodes of the given lengths, each ended by a terminal."""
    generator = np.random.default_rng(seed)
    rows = sum(lengths)
    arrays = {
        "observations": generator.normal(size=(rows, sizes[0])).astype(np.float32),
        "actions": generator.uniform(-1, 1, (rows, sizes[1])).astype(np.float32),
        "rewards": generator.normal(size=rows).astype(np.float32),
        "terminals": np.isin(np.arange(rows), np.cumsum(lengths) - 1),
    }
    if constant:
        arrays["observations"][:, 1] = 0.7
        arrays["actions"][:, 0] = -0.25
        arrays["rewards"][:] = 1.0
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


@pytest.fixture
def write_dataset(tmp_path: Path) -> Write:
    """`write_file` into a place of the test's own."""
    return lambda *lengths, **options: write_file(tmp_path / "own.hdf5", lengths, **options)


TINY = {
    "--n_layer": "1",
    "--n_head": "1",
    "--n_embd": "4",
    "--subsampled_sequence_length": "3",
    "--batch_size": "8",
    "--n_steps": "6",
    "--n_saves": "2",
    "--log_freq": "1",
    "--holdout_fraction": "0.25",
    "--verbose": "false",
}


TINY_HEAD = {
    "adacat": {"--n_bins": "4"},
    "uniform": {"--N": "5"},
    "quantile": {"--N": "5"},
    "logistic_mixture": {"--n_components": "3"},
}


def tiny_flags(path: Path, dataset: str = "own", **changes: object) -> list[str]:
    """Flags of a tiny training; keywords change or add some, None removes one."""
    head = TINY_HEAD.get(str(changes.get("parameterization", "adacat")), {})
    merged: dict[str, str | None] = {**TINY, **head, "--dataset": dataset, "--dataset_path": str(path)}
    merged |= {f"--{name}": value if value is None else str(value) for name, value in changes.items()}
    return [text for name, value in merged.items() if value is not None for text in (name, value)]


def tiny_table(folder: Path) -> list[str]:
    """Write a file of MINIBOONE's format below ``folder``; return the flags of a tiny density training on it."""
    rows = np.random.default_rng(0).normal(size=(300, 3))
    rows[:, 1] += rows[:, 0] ** 2
    rows[-1] = 40.0  # a test row far outside the training rows' bounds
    (folder / "tables" / "miniboone").mkdir(parents=True)
    np.save(folder / "tables" / "miniboone" / "data.npy", rows)
    return [
        *("--dataset", "miniboone", "--data", "tables", "--preset", "small", "--verbose", "false"),
        *("--hidden", "8", "--n_hidden", "1", "--frequencies", "1", "--batch_size", "32", "--n_steps", "6"),
        *("--log_freq", "2", "--n_saves", "2"),
    ]


def tiny_digits(folder: Path) -> list[str]:
    """Write files of MNIST's format, images of 4 x 4 pixels; return the flags of a tiny density training on them."""
    (folder / "digits").mkdir()
    generator = np.random.default_rng(0)
    for name, count in ((TRAINING_FILE, 20), (TEST_FILE, 6)):
        header = bytes((0, 0, 8, 3)) + struct.pack(">3i", count, 4, 4)
        (folder / "digits" / name).write_bytes(header + generator.integers(0, 256, count * 16, np.uint8).tobytes())
    return [
        *("--data", "digits", "--preset", "small", "--verbose", "false", "--n_validation", "4", "--n_test", "5"),
        *("--n_layer", "1", "--n_head", "1", "--n_embd", "4", "--batch_size", "8", "--n_steps", "4"),
        *("--log_freq", "2", "--n_samples", "5"),
    ]


def tiny_voice(folder: Path) -> list[str]:
    """Write 40 short recordings in LJSpeech's layout; return the flags of a tiny density training on them."""
    (folder / "voice" / "wavs").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(40):
        samples = (3000 * generator.normal(size=200)).clip(-32768, 32767).astype(np.int16)
        wavfile.write(folder / "voice" / "wavs" / f"{i}.wav", 8000, samples)
    (folder / "voice" / "metadata.csv").write_text("".join(f"{i}||\n" for i in range(40)))
    return [
        *("--data", "voice", "--preset", "small", "--verbose", "false", "--crop", "64", "--n_fft", "32", "--hop", "16"),
        *("--n_mels", "3", "--n_layers", "2", "--residual", "4", "--skip", "4", "--batch_size", "4", "--n_steps", "4"),
        *("--log_freq", "2", "--n_clips", "2", "--clip_seconds", "0.01"),
    ]


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny training's logs, for tests to copy; its dataset is gone."""
    work = tmp_path_factory.mktemp("trained")
    path = write_file(work / "own.hdf5", (9, 8, 7, 6))
    train.main([*tiny_flags(path, discount=0.9), "--logbase", str(work / "logs")])
    path.unlink()
    return work / "logs"


@pytest.fixture
def run_train(home: Path) -> Callable[..., Path]:
    """Trains with the tiny flags, and returns the experiment's folder."""

    def run(path: Path, dataset: str = "own", **changes: object) -> Path:
        train.main(tiny_flags(path, dataset, **changes))
        return (
            home / "logs" / dataset / str(changes.get("exp_name", f"gpt/{changes.get('parameterization', 'adacat')}_0"))
        )

    return run


@pytest.fixture
def make_flags() -> Callable[..., list[str]]:
    """`tiny_flags`."""
    return tiny_flags
