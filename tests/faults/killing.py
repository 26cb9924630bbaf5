"""Kill a command again and again, and compare what it leaves in the end with a whole run; `forking` says how.

Tests start this as a process of its own: ``python -m tests.faults.killing FOLDER KILLS COMMAND...``.
"""

import json
import os
import sys
import threading
from pathlib import Path

import h5py
import matplotlib.image
import numpy as np
import torch._dynamo  # noqa: F401  (optimizers import it, which takes seconds: here, before the forks)
from tqdm import tqdm

from tests.faults.forking import finish, kill_again_and_again
from tests.faults.outputs import lines, without_time
from tests.scripts.conftest import tiny_digits, tiny_flags, write_file
from trajectory_adacat.checkpoint import find_checkpoint, read_any_description, read_description, read_tensors
from trajectory_adacat.critic.checkpoint import read_critic
from trajectory_adacat.datasets.d4rl import read_d4rl
from trajectory_adacat.density.checkpoint import read_density
from trajectory_adacat.evaluation.density_results import load_density_results
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.recording import ARRAYS, find_recordings, load_recording
from trajectory_adacat.scripts import collect, critic, density_images, plan, plan_arguments, train  # noqa: F401

ENVIRONMENT = "TrajectoryAdacatTests/Killed-v0"


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
    # tqdm's lock is one for all forks: a process that is killed while it holds it would stop the others.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0  # a thread, which would not survive the fork
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
