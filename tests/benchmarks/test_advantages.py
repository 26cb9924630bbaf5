"""The table of advantages comes from the episodes that each critic's training held out."""

from pathlib import Path

import pytest

from benchmarks import advantages
from trajectory_adacat.errors import InputError
from trajectory_adacat.scripts import critic

COLLECTED = "hopper-medium-collected"


@pytest.fixture
def train(collected_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train a tiny critic of the collected dataset, and return its folder."""
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(collected_home))
    flags = ["--dataset", COLLECTED, "--logbase", str(tmp_path), "--hidden_size", "8", "--n_steps", "4"]
    critic.main([*flags, "--batch_size", "8", "--holdout_fraction", "0.4", "--verbose", "false"])
    return tmp_path / COLLECTED / "critic" / "iql_0"


def test_the_table_has_a_correlation_for_each_number_of_steps(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    advantages.main(["--critic", str(train), "--n_steps", "1", "5"])
    name, *cells = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
    assert name == str(train)
    correlations, errors = zip(*((float(part) for part in cell.split(" ± ")) for cell in cells), strict=True)
    assert len(correlations) == 2
    assert all(-1.0 <= correlation <= 1.0 for correlation in correlations)
    assert all(0.02 < error < 0.2 for error in errors)  # of the held-out transitions, not of all or none


def test_another_file_than_the_critics_is_refused(train: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = advantages.load_dataset(COLLECTED)
    monkeypatch.setattr(advantages, "load_dataset", lambda name: other.__class__(**{**vars(other), "sha256": "other"}))
    with pytest.raises(InputError, match="not the one that the critic was trained on"):
        advantages.main(["--critic", str(train)])
