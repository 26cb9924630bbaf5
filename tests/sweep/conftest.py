"""Jobs of a few lines of Python: a training that saves its steps, and a plan that reads its last one."""

import sys
from collections.abc import Callable
from pathlib import Path

from trajectory_adacat.sweep.jobs import Job, Kind

# Steps 1 to `last`, each a file written atomically; "--resume" goes on from the latest.
TRAIN = """
import os, sys, time
from pathlib import Path
folder, last, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
found = sorted(folder.glob("step_*"))
assert bool(found) == ("--resume" in sys.argv)
state = int(found[-1].read_text()) if found else 1
for step in range(len(found) + 1, last + 1):
    time.sleep(seconds)
    state = (state * 31 + step) % 1009
    Path(folder, ".new").write_text(str(state))
    os.replace(Path(folder, ".new"), Path(folder, f"step_{step:03d}"))
"""
PLAN = """
import os, sys, time
from pathlib import Path
model, result, last, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
time.sleep(seconds)
result.parent.mkdir(parents=True, exist_ok=True)
result.with_suffix(".new").write_text(Path(model, f"step_{last:03d}").read_text() + " planned")
os.replace(result.with_suffix(".new"), result)
"""
FAIL = "import sys; print('no such file: x', file=sys.stderr); sys.exit(2)"


def job(kind: Kind, name: str, code: str, is_done: Callable[[], bool], *needs: str, folder: Path | None = None) -> Job:
    return Job(f"{kind} {name}", kind, ("-c", code), is_done, needs, folder, seconds=1.0)


def pair(root: Path, name: str, steps: int = 3, seconds: float = 0.0) -> list[Job]:
    """A training and its plan."""
    folder, result = root / "models" / name, root / "plans" / f"{name}.txt"
    train = ("-c", TRAIN, str(folder), str(steps), str(seconds))
    plan = ("-c", PLAN, str(folder), str(result), str(steps), str(seconds))

    def can_resume() -> bool:
        return any(folder.glob("step_*"))

    is_trained = (folder / f"step_{steps:03d}").exists
    return [
        Job(f"train {name}", "train", train, is_trained, folder=folder, prepare=can_resume),
        Job(f"plan {name}", "plan", plan, result.exists, (f"train {name}",)),
    ]


def results(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((root / "plans").glob("*.txt"))}


def run_pairs(root: Path) -> None:
    """Run three pairs, two jobs side by side; tests start this in a process of its own."""
    from trajectory_adacat.sweep.runner import Runner

    Runner([found for name in "abc" for found in pair(root, name, 8, 0.04)], 2, root / "sweep").run()


if __name__ == "__main__":
    run_pairs(Path(sys.argv[1]))
