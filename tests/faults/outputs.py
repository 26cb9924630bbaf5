"""What commands have left: the files of a folder, and the results in them."""

from pathlib import Path

from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.recording import find_recordings, load_recording


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tensors(checkpoint: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(checkpoint).items() if name.endswith(".safetensors")}


def planned(folder: Path) -> dict[int, tuple[float, int]]:
    return {result.rollout_seed: (result.return_, result.length) for result in load_results([folder]).values()}


def recorded(folder: Path) -> dict[int, list[float]]:
    found = [load_recording(path) for path in find_recordings(folder)]
    return {recording.description["rollout_seed"]: recording.rewards.tolist() for recording in found}
