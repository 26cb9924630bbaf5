"""The export command: what it writes plans as the checkpoints do, and nothing is replaced unasked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.checkpoint import find_checkpoint, read_training
from trajectory_adacat.critic.checkpoint import read_critic
from trajectory_adacat.errors import InputError
from trajectory_adacat.pretrained.card import render
from trajectory_adacat.pretrained.folder import Pretrained
from trajectory_adacat.scripts import critic, export, plan

CRITIC = {"hidden_size": 8, "n_steps": 4, "mc_steps": 2, "batch_size": 8, "holdout_fraction": 0.25, "verbose": "false"}
PLAN = {"n_rollouts": 1, "max_episode_length": 3, "verbose": "false", "horizon": 2, "max_context_transitions": 2}
MODEL = Path("logs", "own", "gpt", "adacat_0")


def words(flags: dict[str, Any]) -> list[str]:
    return [text for name, value in flags.items() for text in (f"--{name}", str(value))]


@pytest.fixture
def trained(write_dataset: Callable[..., Path], run_train: Callable[..., Path]) -> Path:
    """The data of a model and a critic of hopper's sizes, in the folder of logs."""
    path = write_dataset(9, 8, 7, 6, sizes=(11, 3))
    run_train(path, environment="hopper-medium-v2")
    critic.main(words({**CRITIC, "dataset": "own", "dataset_path": path}))
    return path


def run(exp_name: str, **changes: Any) -> dict[str, Any]:
    plan.main(words({**PLAN, "use_ema": "true", "exp_name": exp_name, **changes}))
    (line,) = Path("logs", "own", exp_name, "rollouts.jsonl").read_text().splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def write(*more: str, out: str = "small") -> Pretrained:
    export.main(["--model", str(MODEL), "--out", out, *more])
    return Pretrained(Path(out))


def test_an_export_plans_with_its_critic_unless_told_otherwise(trained: Path) -> None:
    found = write("--critic", "logs/own/critic/iql_0")
    scored, values = run("critic", pretrained="small"), run("values", pretrained="small", scoring="values")
    assert scored["planner"]["scoring"]["name"] == "critic"
    assert values["planner"]["scoring"]["name"] == "values"
    whole = run("whole", dataset="own", critic="auto")
    assert scored["planner"] == whole["planner"]
    by_path = run("path", dataset="own", gpt_loadpath=found.model, critic=found.critic)
    assert by_path["checkpoint"] == scored["checkpoint"] != whole["checkpoint"]
    assert by_path["return"] == scored["return"] != values["return"]


def test_an_export_without_a_critic_plans_with_value_tokens(trained: Path) -> None:
    write()
    assert run("values", pretrained="small")["planner"]["scoring"]["name"] == "values"
    for flag in ({"critic": "auto"}, {"scoring": "critic"}):
        with pytest.raises(InputError, match="pretrained model small has no critic: name a --critic, or plan without"):
            run("critic", pretrained="small", **flag)
    assert run("own", pretrained="small", critic="critic/iql_0")["planner"]["scoring"]["name"] == "critic"


def test_the_card_says_what_the_training_and_the_rollouts_recorded(trained: Path) -> None:
    result = run("plans", dataset="own")
    found = write("--critic", "logs/own/critic/iql_0", "--rollouts", "logs/own/plans")
    text = found.card.read_text()
    assert text == render(found)
    assert read_training(found.model)["dataset"]["sha256"] in text
    last = [json.loads(line) for line in (MODEL / "metrics.jsonl").read_text().splitlines()][-1]
    assert f"all {last['held_out_ema/all']:.2f}" in text
    assert "train/all" not in read_training(found.model)["metrics"]
    command = read_training(found.model)["command"]
    assert command.startswith("trajectory-adacat train --dataset own --seed 0 ")
    assert "--n_steps 6" in command
    assert "--batch_size 8" in command
    assert "--parameterization" not in command
    assert "--hidden_size 8" in read_critic(found.critic or Path())["command"]
    assert f"| 3 | 1 x 1 | {result['return']:.0f} | none | {result['return']:.0f} |" in text


def test_an_export_can_be_exported_again(trained: Path) -> None:
    first = write("--critic", "logs/own/critic/iql_0")
    export.main(["--model", "small/model", "--critic", "small/critic", "--out", "other/again"])
    again = Pretrained(Path("other/again"))
    assert read_training(again.model) == read_training(first.model)
    assert again.card.read_text() == first.card.read_text().replace("small", "again")


def test_only_an_export_is_replaced_and_only_when_asked(trained: Path) -> None:
    found = write("--critic", "logs/own/critic/iql_0")
    with pytest.raises(InputError, match="small exists: replace it with --overwrite"):
        write()
    assert found.critic is not None
    write("--overwrite")
    assert found.critic is None
    with pytest.raises(InputError, match="logs exists and is no folder of a pretrained model"):
        write("--overwrite", out="logs")
    find_checkpoint(MODEL)


def test_a_refused_export_leaves_nothing(trained: Path) -> None:
    critic.main(words({**CRITIC, "dataset": "own", "dataset_path": trained, "seed": 3, "exp_name": "critic/other"}))
    before = sorted(Path().iterdir())
    with pytest.raises(InputError, match="the model's --seed 0"):
        write("--critic", "logs/own/critic/other")
    with pytest.raises(InputError, match="name another --model"):
        export.main(["--model", "nowhere", "--out", "small"])
    with pytest.raises(InputError, match="is that of a model, not of a critic"):
        write("--critic", str(MODEL))
    assert sorted(Path().iterdir()) == before
