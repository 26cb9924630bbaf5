"""Where a result came from: library versions and the code's revision."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("trajectory_adacat", "torch", "numpy", "gymnasium", "mujoco")


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that decide a result."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed"
    return versions


def git_revision() -> str | None:
    """The commit of the clone that this code stands in, with "+" where files differ from it; None outside a clone."""
    folder = Path(__file__).parent
    try:
        _git(
            folder, "ls-files", "--error-unmatch", Path(__file__).name
        )  # it may be installed below another project's clone
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
