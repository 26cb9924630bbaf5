"""Planning with a model that ships: at once, with neither dataset nor network."""

import json
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.pretrained.folder import shipped
from trajectory_adacat.robots import named_datasets
from trajectory_adacat.scripts import plan

SHORT = ["--n_rollouts", "1", "--max_episode_length", "2", "--verbose", "false"]


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("a model that ships needs no network")


@pytest.mark.parametrize("name", list(shipped()))
def test_a_model_that_ships_plans_at_once(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", refuse)
    plan.main(["--pretrained", name, *SHORT])
    (path,) = home.rglob("rollouts.jsonl")
    assert path.parents[1] == home / "logs" / name / "plans" / "pretrained" / name
    result = json.loads(path.read_text())
    low, high = named_datasets()[name].robot.reference_returns
    assert result["length"] == 2
    assert result["normalized_score"] == pytest.approx(100 * (result["return"] - low) / (high - low))
    assert result["environment"]["dynamics"] == "v2"
    assert result["data_status"] == "verified"
    assert not (tmp_path / "cache").exists()  # no dataset was collected


def test_list_prints_the_models_and_plans_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        plan.main(["--pretrained", "list"])
    assert not raised.value.code
    printed = capsys.readouterr().out
    assert all(name in printed for name in shipped())
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "hopper-medium-collected"], "already says which model: leave out --dataset"),
        (["--gpt_loadpath", "gpt/adacat_0"], "already says which model: leave out --gpt_loadpath"),
        (["--gpt_epoch", "3"], "already says which model: leave out --gpt_epoch"),
        (["--use_ema", "false"], "holds only the moving average of the weights: pass --use_ema true"),
    ],
    ids=str,
)
def test_flags_that_contradict_a_pretrained_model_are_refused(flags: list[str], message: str, home: Path) -> None:
    with pytest.raises(InputError, match=message):
        plan.main(["--pretrained", "hopper-medium-collected", *flags, *SHORT])
    assert not list(home.iterdir())


def test_no_model_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="Name the --dataset of a model of yours, or a --pretrained model"):
        plan.main([])
    with pytest.raises(InputError, match="did you mean hopper-medium-collected"):
        plan.main(["--pretrained", "hopper-medium"])
