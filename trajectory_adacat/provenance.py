"""Record where a result came from: library versions, the processor and the revision of the code."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LIBRARIES = ("trajectory_adacat", "torch", "numpy", "gymnasium", "mujoco")


def library_versions(*more: str) -> dict[str, str]:
    """Return the installed versions of the libraries that determine a result, and of ``more`` libraries."""
    versions = {}
    for library in (*LIBRARIES, *more):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed"
    return versions


def processor(device: "torch.device | str" = "cpu") -> str:
    """Return the processor's name with the vector instructions that torch uses: other ones give another training.

    The name of a GPU that computes follows, as in ``AMD EPYC (AVX2), NVIDIA H100 80GB HBM3``.
    """
    import torch  # slow to import

    capability = torch.backends.cpu.get_cpu_capability()
    info = Path("/proc/cpuinfo")  # Linux; elsewhere `platform` knows more
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = f"{names[0] if names else platform.processor() or platform.machine()} ({capability})"
    on_gpu = torch.device(device).type == "cuda"
    return f"{name}, {torch.cuda.get_device_name(device)}" if on_gpu else name


def git_revision() -> str | None:
    """Return the commit of this clone, with "+" if tracked files differ from it; None outside a clone."""
    folder = Path(__file__).parent
    try:
        # Fails where the package is installed in the clone of another project.
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
