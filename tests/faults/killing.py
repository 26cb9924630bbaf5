"""Run a command again and again in forked processes that are killed, until it ends; then compare with a whole run.

Tests start this as a process of its own (``python -m tests.faults.killing FOLDER KILLS COMMAND...``): a fork takes
milliseconds where the import of torch takes seconds, and a process that has computed gradients cannot be forked.

Half of the processes end themselves by SIGKILL at one of the moments in which they are about to open, rename or delete
a file of their folder; the others are killed after a random time, and thereby also in the middle of writing. What a
killed process leaves is checked each time.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import matplotlib.image
import numpy as np
import torch._dynamo  # noqa: F401  (optimizers import it, which takes seconds: here, before the forks)

from tests.scripts.conftest import tiny_digits, tiny_flags, write_file
from trajectory_adacat.checkpoint import find_checkpoint, read_any_description, read_description, read_tensors
from trajectory_adacat.console import dispatch
from trajectory_adacat.critic.checkpoint import read_critic
from trajectory_adacat.datasets.d4rl import read_d4rl
from trajectory_adacat.density.checkpoint import read_density
from trajectory_adacat.evaluation.density_results import load_density_results
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.recording import ARRAYS, find_recordings, load_recording
from trajectory_adacat.scripts import collect, critic, density_images, plan, plan_arguments, train  # noqa: F401
from trajectory_adacat.training.logger import read_metrics

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}
LATEST_EVENT = 40  # in which a process ends itself
LONGEST = 0.15  # seconds after its first event, in which a process is killed
ENVIRONMENT = "TrajectoryAdacatTests/Killed-v0"


def run(argv: list[str]) -> None:
    """Run a command in this process, with what it prints in a file."""
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    dispatch(argv)


def fork(argv: list[str], folder: Path, at_event: int | None) -> tuple[int, int]:
    """Start a command in a forked process; return its id, and a pipe that gets a byte at its first event in a folder.

    ``at_event`` is the number of the event at which it ends itself.
    """
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid:
        os.close(sending)
        return pid, receiving
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in EVENTS and any(folder.name in str(argument) for argument in arguments[:2]):
            seen += 1
            if seen == 1:
                os.write(sending, b".")
            if seen == at_event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        run(argv)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def kill_again_and_again(
    resumed: Callable[[], list[str]],
    folder: Path,
    n_kills: int,
    check: Callable[[], None],
    verify: Callable[[], None],
    latest_event: int = LATEST_EVENT,
) -> dict[str, int]:
    """Kill a command ``n_kills`` times, then let it end; return how often it was killed, and where.

    A command that ends by itself before the last kill is verified and started anew.

    Args:
        resumed: returns the command that goes on.
        folder: what the command writes to.
        n_kills: number of kills.
        check: checks what a killed process has left.
        verify: checks what a process has left that has ended.
        latest_event: number of the latest event at which a process ends itself.
    """
    moments = random.Random(n_kills)
    killed = {"at an event": 0, "after a time": 0, "ended": 0}
    while (n := killed["at an event"] + killed["after a time"]) < n_kills:
        at_event = moments.randint(1, latest_event) if n % 2 else None
        pid, pipe = fork(resumed(), folder, at_event)
        os.read(pipe, 1)  # the first event, or the end of the process
        if at_event is None:
            time.sleep(moments.uniform(0.0, LONGEST))
            os.kill(pid, signal.SIGKILL)
        os.close(pipe)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            killed["after a time" if at_event is None else "at an event"] += 1
            check()
            continue
        assert os.WEXITSTATUS(status) == 0, Path("log.txt").read_text()[-3000:]
        killed["ended"] += 1
        verify()
        shutil.rmtree(folder)
    finish(resumed())
    verify()
    return killed


def finish(argv: list[str]) -> None:
    """Let a command run to its end."""
    pid, pipe = fork(argv, Path("nowhere"), None)
    os.close(pipe)
    _, status = os.waitpid(pid, 0)
    assert status == 0, Path("log.txt").read_text()[-3000:]


def lines(path: Path) -> list[Any]:
    """Return the whole lines of a JSON-lines file; only the last one may be incomplete."""
    texts = path.read_text().splitlines(keepends=True) if path.exists() else []
    assert all(text.endswith("\n") for text in texts[:-1])
    return [json.loads(text) for text in texts if text.endswith("\n")]


def without_time(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if not k.startswith("seconds")} for line in read_metrics(folder)]


def contents(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.glob("*.safetensors")}


def kill_training(command: str, n_kills: int) -> dict[str, int]:
    """Kill a training, with a checkpoint after every other step."""
    n_steps = 4 + 2 * n_kills
    argv = [*training_flags(command), "--n_steps", str(n_steps), "--n_saves", str(n_steps // 2)]
    base = Path("logs", "density", "mnist") if command == "density" else Path("logs", "own")
    whole, folder = (base.absolute() / name for name in ("whole", "killed"))
    finish([command, *argv, "--exp_name", "whole"])

    def resumed() -> list[str]:
        found = any(folder.glob("step_*"))
        return [command, *argv, "--exp_name", "killed", *(["--resume"] if found else [])]

    def check() -> None:
        lines(folder / "metrics.jsonl")
        for checkpoint in folder.glob("step_*"):
            description = read_any_description(checkpoint)
            for name in description["files"]:
                read_tensors(checkpoint, name, description)
        if (folder / "density.jsonl").exists():
            tested(folder)

    def verify() -> None:
        last = [find_checkpoint(path) for path in (whole, folder)]
        assert contents(last[0]) == contents(last[1])
        assert READ[command](last[0])["step"] == READ[command](last[1])["step"] == n_steps
        assert without_time(whole) == without_time(folder)
        assert [line["step"] for line in without_time(folder)] == list(range(1, n_steps + 1))
        left = [path.name for path in folder.iterdir() if path.name.startswith(".step") or path.suffix == ".lock"]
        assert not left, left
        if command == "density":
            assert tested(whole) == tested(folder)

    return kill_again_and_again(resumed, folder, n_kills, check, verify)


def training_flags(command: str) -> list[str]:
    """Write tiny data; return the flags of a training on them, without its length."""
    if command == "density":
        return ["images", *tiny_digits(Path.cwd()), "--dropout", "0.2", "--log_freq", "1"]
    data = write_file(Path("own.hdf5").absolute(), (9, 8, 7, 6))
    if command == "train":
        return tiny_flags(data, embd_pdrop=0.2, n_epochs_ref=None, n_steps=None, n_saves=None)
    argv = ["--dataset", "own", "--dataset_path", str(data), "--mc_steps", "5", "--log_freq", "1"]
    return [*argv, "--hidden_size", "8", "--batch_size", "8", "--holdout_fraction", "0.25", "--verbose", "false"]


def tested(folder: Path) -> tuple[float, bytes]:
    """Return the test likelihood and the samples of a density training; where the first is, the second are."""
    (result,) = load_density_results([folder])
    return result.nll, (folder / density_images.SAMPLES_FILE).read_bytes()


READ = {"train": read_description, "critic": read_critic, "density": lambda path: read_density(path)[1]}


def kill_collection(n_kills: int) -> dict[str, int]:
    """Kill a collection, and start it anew."""
    folder = Path("killed").absolute()
    whole, file = Path("whole").absolute() / "data.hdf5", folder / "data.hdf5"
    argv = ["collect", "--dataset", "hopper-medium-collected", "--transitions", "60", "--seed", "3"]
    finish([*argv, "--output", str(whole)])

    def verify() -> None:
        assert file.read_bytes() == whole.read_bytes()

    def check() -> None:
        if file.exists():
            verify()
            file.unlink()

    killed = kill_again_and_again(lambda: [*argv, "--output", str(file)], folder, n_kills, check, verify, 5)
    for left in folder.glob("*.part"):  # they are removed once they are old
        os.utime(left, (0, 0))
    finish([*argv, "--output", str(file), "--overwrite"])
    assert [path.name for path in folder.iterdir()] == ["data.hdf5"]
    assert len(read_d4rl(file)[0]["rewards"]) == 60
    return killed


def kill_planning(n_kills: int) -> dict[str, int]:
    """Kill a planning, which goes on with the rollouts that are left."""
    import gymnasium

    from tests.scripts.test_plan import Line

    gymnasium.register(ENVIRONMENT, entry_point=lambda **options: Line(bound=0.8), max_episode_steps=20)
    data, n_rollouts = write_file(Path("own.hdf5").absolute(), (9, 8, 7, 6)), 6
    finish(["train", *tiny_flags(data, exp_name="model")])
    argv = ["plan", "--dataset", "own", "--gpt_loadpath", "model", "--environment", ENVIRONMENT, "--horizon", "1"]
    argv += ["--beam_width", "2", "--max_context_transitions", "3", "--n_rollouts", str(n_rollouts), "--record"]
    whole, folder = (Path("logs", "own", name).absolute() for name in ("whole", "killed"))
    finish([*argv, "--exp_name", "whole"])

    def check() -> None:
        seeds = [line["rollout_seed"] for line in lines(folder / "rollouts.jsonl")]
        assert len(seeds) == len(set(seeds))
        left = recordings(folder)
        assert set(seeds) <= set(left)
        expected = recordings(whole)
        assert left == {seed: expected[seed] for seed in left}

    resumed = [*argv, "--exp_name", "killed", "--resume"]

    def returns(path: Path) -> dict[int, tuple[float, int]]:
        found = load_results([path]).values()
        assert len(found) == n_rollouts
        return {result.rollout_seed: (result.return_, result.length) for result in found}

    def recordings(path: Path) -> dict[int, dict[str, bytes]]:
        """Return the arrays of each recorded rollout."""
        found = {}
        for file in find_recordings(path):
            recording = load_recording(file)
            found[int(file.stem.rpartition("_")[2])] = {name: getattr(recording, name).tobytes() for name in ARRAYS}
        return found

    def verify() -> None:
        assert returns(whole) == returns(folder)
        assert recordings(whole) == recordings(folder)
        assert len(recordings(folder)) == n_rollouts

    return kill_again_and_again(lambda: resumed, folder, n_kills, check, verify, 30)


def kill(command: str, n_kills: int) -> dict[str, int]:
    """Kill one of the commands in the working folder."""
    if command in READ:
        return kill_training(command, n_kills)
    return {"collect": kill_collection, "plan": kill_planning}[command](n_kills)


def main() -> None:
    """Kill the commands of the command line in folders of their own; print how often each was killed."""
    root, n_kills, commands = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]  # its import would take a second each time
    parsers = train.TrainArguments, critic.CriticArguments, plan_arguments.PlanArguments, density_images.ImagesArguments
    for parser in parsers:
        parser()  # reads the source code once for all forks
    os.environ |= {"TRAJECTORY_ADACAT_HOME": str(root / "cache"), "PATH": ""}  # without git: it would take time
    killed = {}
    for command in commands:
        folder = root / command
        folder.mkdir()
        os.chdir(folder)
        killed[command] = kill(command, n_kills)
    print(json.dumps(killed))


if __name__ == "__main__":
    assert h5py.version and matplotlib.image and np.__version__  # imported before the forks
    main()
