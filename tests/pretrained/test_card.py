"""The cards of the models that ship say what the files beside them say."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.checkpoint import read_training
from trajectory_adacat.critic.checkpoint import read_critic
from trajectory_adacat.critic.config import CriticConfig
from trajectory_adacat.pretrained.card import plan_text, render
from trajectory_adacat.pretrained.folder import Pretrained, find_pretrained, shipped
from trajectory_adacat.scripts.critic import CriticArguments
from trajectory_adacat.scripts.train import TrainArguments
from trajectory_adacat.settings import from_nested, to_flat
from trajectory_adacat.training.config import TrainConfig

NAMES = list(shipped())


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_the_one_that_its_files_make(name: str) -> None:
    found = find_pretrained(name)
    assert found.card.read_text(encoding="utf-8") == render(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_on_a_card_resolve_to_the_settings_of_the_training(name: str) -> None:
    found = find_pretrained(name)
    kinds: list[tuple[Any, type, dict[str, Any]]] = [(TrainArguments(), TrainConfig, read_training(found.model))]
    if found.critic is not None:
        kinds.append((CriticArguments(), CriticConfig, read_critic(found.critic)))
    for parser, kind, description in kinds:
        assert description["command"] in found.card.read_text(encoding="utf-8")
        arguments = parser.parse(shlex.split(description["command"])[2:])
        settings = {key: value for key, value in description["training"].items() if key != "dataset"}
        assert to_flat(arguments.settings(kind)) == to_flat(from_nested(kind, settings))
        assert arguments.dataset == description["dataset"]["name"]
        assert arguments.arguments()["seed"] == description["train_seed"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_the_data_the_likelihood_and_the_minutes(name: str) -> None:
    found = find_pretrained(name)
    text, description = render(found), read_training(found.model)
    assert description["dataset"]["sha256"] in text
    assert f"all {description['metrics']['held_out_ema/all']:.2f}" in text
    assert f"{description['metrics']['seconds_per_step'] * description['step'] / 60:.0f} minutes" in text


def test_returns_are_averaged_over_trainings(tmp_path: Path) -> None:
    record = {
        "environment": "Line-v0",
        "planner": {
            "search": {"horizon": 3, "beam_width": 2, "n_expand": 2},
            "scoring": {"name": "values"},
            "max_episode_length": 9,
        },
        "returns": {"0": [1.0, 3.0], "1": [6.0, 6.0]},
        "scores": {"0": [10.0, 30.0], "1": [60.0, 60.0]},
    }
    source = find_pretrained("hopper-medium-collected")
    (tmp_path / "model").symlink_to(source.model)
    (tmp_path / "returns.json").write_text(json.dumps([record]))
    text = "search: horizon 3, 2 x 2 candidates, scored by value tokens"
    assert f"| {text} | Line-v0 | 9 | 2 x 2 | 4 ± 2 | 40.0 ± 20.0 | 2 ± 1 |" in render(Pretrained(tmp_path))


@pytest.mark.parametrize(
    ("beams", "actions", "scoring", "text"),
    [
        (1, 1, "values", "no search: actions sampled from the model"),
        (2, 1, "critic", "search: horizon 4, 2 x 1 candidates, scored by the critic"),
    ],
)
def test_a_plan_in_words(beams: int, actions: int, scoring: str, text: str) -> None:
    search = {"horizon": 4, "beam_width": beams, "n_expand": actions}
    assert plan_text({"search": search, "scoring": {"name": scoring}}) == text
