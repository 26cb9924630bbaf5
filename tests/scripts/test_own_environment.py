"""The page on own environments: its code and its commands, run as they stand with a small model and few steps."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "own_environment.md"
CONSOLE = "from trajectory_adacat.console import main; main()"
SMALL = {
    "train": "--n_layer 1 --n_head 1 --n_embd 4 --batch_size 4 --n_steps 2",
    "plan": "--n_rollouts 2 --horizon 1 --beam_width 2",
    "table": "",
}


def run(command: str, folder: Path) -> str:
    """Run a line of the page in ``folder``; the installed command does not look for modules there."""
    program, first, *others = shlex.split(command)
    arguments = [first, *others]
    if program == "trajectory-adacat":
        arguments = ["-P", "-c", CONSOLE, *arguments, *shlex.split(SMALL[first])]
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_leads_from_an_environment_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for language, code in blocks:
        if language == "python":
            name = code.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(code.replace("EPISODES = 200", "EPISODES = 5"))
    lines = [line for language, code in blocks if language == "bash" for line in code.splitlines()]
    printed = [run(line, tmp_path) for line in lines]
    assert [line.split()[0] for line in lines] == ["python", *["trajectory-adacat"] * 3]
    assert "point_mass.hdf5" in printed[-1]
    assert "return, mean" in printed[-1]
    (path,) = tmp_path.rglob("rollouts.jsonl")
    results = [json.loads(line) for line in path.read_text().splitlines()]
    for result in results:
        assert result["environment"]["environment"] == "point_mass:PointMass-v0"
        assert result["environment"]["env_kwargs"] == {"size": 2}
        assert (result["normalized_score"], result["length"], result["truncated"]) == (None, 20, True)
        assert result["planner"]["max_episode_length"] == 20
    assert {result["rollout_seed"] for result in results} == {0, 1}
