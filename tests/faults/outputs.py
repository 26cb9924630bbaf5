"""What commands have left: the files of a folder, their lines, and the results in them."""

import json
from pathlib import Path
from typing import Any

from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.recording import find_recordings, load_recording
from trajectory_adacat.training.logger import read_metrics


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tensors(checkpoint: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(checkpoint).items() if name.endswith(".safetensors")}


def planned(folder: Path) -> dict[int, tuple[float, int]]:
    return {result.rollout_seed: (result.return_, result.length) for result in load_results([folder]).values()}


def recorded(folder: Path) -> dict[int, list[float]]:
    found = [load_recording(path) for path in find_recordings(folder)]
    return {recording.description["rollout_seed"]: recording.rewards.tolist() for recording in found}


def lines(path: Path) -> list[Any]:
    """Return the whole lines of a JSON-lines file; only the last one may be incomplete."""
    texts = path.read_text().splitlines(keepends=True) if path.exists() else []
    assert all(text.endswith("\n") for text in texts[:-1])
    return [json.loads(text) for text in texts if text.endswith("\n")]


def without_time(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if not k.startswith("seconds")} for line in read_metrics(folder)]
