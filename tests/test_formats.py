"""Files of every released format are read for ever, and mean what they meant (CHANGELOG.md)."""

import json
from pathlib import Path

import pytest
import torch

from trajectory_adacat import checkpoint, recording
from trajectory_adacat.checkpoint import load_model, read_tensors
from trajectory_adacat.critic.checkpoint import load_critic
from trajectory_adacat.density.checkpoint import BEST, read_density
from trajectory_adacat.density.tabular import TabularConfig
from trajectory_adacat.density.tabular_models import TabularModel
from trajectory_adacat.evaluation.density_results import load_density_results
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.plotting.density_groups import gather_density
from trajectory_adacat.plotting.density_table import density_table
from trajectory_adacat.plotting.formats import text
from trajectory_adacat.recording import load_recording
from trajectory_adacat.settings import from_nested
from trajectory_adacat.training.logger import read_metrics

FORMAT_1, FOLDER = (Path(__file__).parent / "fixtures" / name for name in ("format1", "format2"))
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


def test_a_density_model_of_format_2_predicts_as_it_did() -> None:
    folder, description = read_density(FOLDER / "density")
    settings = {key: value for key, value in description["training"].items() if key != "dataset"}
    config = from_nested(TabularConfig, settings).model
    model = TabularModel(len(EXPECTED["density"][0]), config.form, config.hidden, config.n_hidden, config.frequencies)
    model.load_state_dict(read_tensors(folder, BEST, description))
    found = model.double().log_prob(torch.linspace(0.05, 0.95, 12, dtype=torch.float64).reshape(4, 3))
    expected = torch.tensor(EXPECTED["density"], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_a_density_result_is_read_and_tabulated() -> None:
    (result,) = load_density_results([FOLDER / "density.jsonl"])
    assert (result.experiment, result.dataset, result.form, result.seed) == ("tabular", "miniboone", "adacat", 0)
    assert (result.nll, result.validation_nll, result.unit) == (6.911827942583926, 6.979813291879971, "nats per row")
    assert "6.912" in text(density_table(gather_density([FOLDER])))


def test_a_result_in_a_file_of_its_own_is_read() -> None:
    """`rollout_<seed>.json`, which the last version that wrote such files has written."""
    (old,) = load_results([FORMAT_1]).values()
    assert (old.dataset, old.rollout_seed, old.return_, old.length) == ("own", 0, -12.186544375003377, 6)
    assert old.planner["search"]["drop_act"] == 0.6
    head = old.checkpoint["training"]["model"]["head"]
    assert (head["name"], head["n_bins"]) == ("adacat", 4)
    assert (old.planned_return, old.likelihood) == (None, None)


def test_the_changelog_names_every_format() -> None:
    changes = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    for name, current in (("checkpoint", checkpoint.FORMAT), ("recording", recording.FORMAT)):
        for number in range(1, current + 1):
            assert f"{name} format {number}" in changes
