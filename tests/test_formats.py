"""Files of every released format are read for ever, and mean what they meant (CHANGELOG.md)."""

import json
from pathlib import Path

import pytest
import torch

from trajectory_adacat import checkpoint, recording
from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.critic.checkpoint import load_critic
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.recording import load_recording
from trajectory_adacat.training.logger import read_metrics

FOLDER = Path(__file__).parent / "fixtures" / "format2"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize("use_ema", [False, True])
def test_a_model_of_format_2_predicts_as_it_did(use_ema: bool) -> None:
    model = load_model(FOLDER / "model", use_ema).model.double()
    tokens = torch.linspace(0.05, 0.95, 20).reshape(1, 20).double()
    quantiles = model(tokens).icdf(torch.full((1, 20), 0.3, dtype=torch.float64))[0]
    expected = torch.tensor(EXPECTED[f"model ema={use_ema}"], dtype=torch.float64)
    torch.testing.assert_close(quantiles, expected, atol=1e-9, rtol=0)


def test_a_critic_of_format_2_values_as_it_did() -> None:
    observations = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    values = load_critic(FOLDER / "critic").critic.value(observations)
    torch.testing.assert_close(values, torch.tensor(EXPECTED["critic"]), atol=1e-5, rtol=1e-5)


def test_results_recordings_and_logs_are_read() -> None:
    found = load_results([FOLDER / "rollouts.jsonl"])
    assert [result.return_ for result in found.values()] == EXPECTED["returns"]
    recorded = load_recording(FOLDER / "rollout_1.npz")
    assert recorded.description["result"]["return"] == EXPECTED["returns"][1]
    assert [line["step"] for line in read_metrics(FOLDER)] == [1, 2, 3, 4, 5, 6]


def test_the_changelog_names_every_format() -> None:
    text = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    for name, current in (("checkpoint", checkpoint.FORMAT), ("recording", recording.FORMAT)):
        for number in range(1, current + 1):
            assert f"{name} format {number}" in text
