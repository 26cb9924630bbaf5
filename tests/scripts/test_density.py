"""The density command on a tiny scale."""

import json
from pathlib import Path

import numpy as np
import pytest

from trajectory_adacat.density.toy_figures import draw
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import density

TINY = [
    *("--seeds", "1", "2", "--train_points", "300", "--test_points", "200", "--batch_size", "16"),
    *("--uniform_bins", "4", "8", "--spiral_bins", "4", "--spiral_steps", "3", "--interval_steps", "5"),
    *("--mixture_bins", "4", "--collapse_bins", "5", "--verbose", "false"),
]


@pytest.fixture
def results(home: Path) -> Path:
    """The folder of results of the toy experiments."""
    density.main(["toy", *TINY, "--output", "out"])
    return home / "out"


def test_toy_writes_numbers_settings_and_figures(results: Path) -> None:
    for figure in (1, 2, 3):
        document = json.loads((results / f"figure{figure}.json").read_text())
        assert document["command"].startswith("python scripts/density.py toy --seeds 1 2 ")
        assert document["settings"]["batch_size"] == 16
        assert document["versions"]["torch"]
        assert document["results"]["negative_log_likelihood"]
        assert (results / f"figure{figure}.png").read_bytes().startswith(b"\x89PNG")
    with np.load(results / "figure1.npz") as images:
        assert set(images) == {"data", "adacat_4", "uniform_4", "uniform_8"}


def test_figures_can_be_redrawn_from_their_files(results: Path) -> None:
    for figure in (1, 2, 3):
        path = results / f"figure{figure}.png"
        before = path.read_bytes()
        path.unlink()
        assert draw(figure, results).read_bytes() == before


def test_a_single_figure_can_be_requested(home: Path) -> None:
    density.main(["toy", *TINY, "--output", "out", "--figures", "2"])
    assert sorted(path.name for path in (home / "out").iterdir()) == ["figure2.json", "figure2.png"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["toys"], "did you mean toy"),
        (["toy", "--figures", "4"], "--figures 4"),
        (["toy", "--batch_size", "0"], "--batch_size"),
        (["toy", "--seed", "1"], "--seeds"),
        (["toy", "--threads", "0"], "--threads"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(home: Path, argv: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        density.main(argv)
    assert not list(home.iterdir())


def test_help_names_the_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    density.main(["--help"])
    assert "toy" in capsys.readouterr().out
