"""The ``trajectory-adacat`` command: dispatch, help, and lazy imports."""

import os
import subprocess
import sys
import types
from collections.abc import Sequence
from importlib.util import find_spec

import pytest

from trajectory_adacat import console
from trajectory_adacat.command_line import run_command
from trajectory_adacat.errors import InputError


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    console.dispatch(argv)
    printed = capsys.readouterr().out
    for command in (
        "train",
        "critic",
        "plan",
        "convert",
        "export",
        "sweep",
        "collect",
        "train-behavior",
        "table",
        "plot",
        "curves",
        "compare",
        "density",
        "demo",
    ):
        assert f"\n  {command} " in printed


def test_an_unknown_command_exits_2_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no command 'tabel': did you mean table"):
        console.dispatch(["tabel"])
    with pytest.raises(SystemExit) as raised:
        console.main(["tabel"])
    assert raised.value.code == 2
    assert "did you mean table" in capsys.readouterr().err


def test_a_command_gets_the_remaining_arguments_and_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def main(argv: Sequence[str] | None) -> None:
        seen.append((argv, sys.argv))

    module = types.ModuleType("fake_command")
    vars(module)["main"] = main
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(console.COMMANDS, "train", ("fake_command", ""))
    monkeypatch.setattr(sys, "argv", ["trajectory-adacat", "train", "--seed", "1"])
    console.dispatch()
    assert seen == [(["--seed", "1"], ["trajectory-adacat train", "--seed", "1"])]


@pytest.mark.parametrize("command", list(console.COMMANDS))
def test_the_module_of_every_command_exists(command: str) -> None:
    assert find_spec(console.COMMANDS[command][0]) is not None


@pytest.mark.parametrize("argv", [["--help"], ["table", "--help"], ["plot", "--help"], ["curves", "--help"]])
def test_help_starts_without_heavy_imports(argv: list[str]) -> None:
    code = (
        "import sys\n"
        "from trajectory_adacat.console import main\n"
        "try:\n"
        f"    main({argv})\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "heavy = {'torch', 'mujoco', 'gymnasium', 'rliable', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "usage: trajectory-adacat" in run.stdout if len(argv) == 1 else f"trajectory-adacat {argv[0]}" in run.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_a_command_silently(unbuffered: str) -> None:
    command = [sys.executable, "-c", "from trajectory_adacat.console import main; main()", "--help"]
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        printed = process.stderr.read()
    assert (process.returncode, printed) == (141, "")


def test_a_pipe_that_is_not_the_output_is_no_silent_end() -> None:
    def fail(argv: Sequence[str] | None) -> None:
        raise BrokenPipeError("of a connection")

    with pytest.raises(BrokenPipeError, match="of a connection"):
        run_command(fail)
