"""Versions, revisions and hashes."""

import importlib.util
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
import torch

from trajectory_adacat import provenance
from trajectory_adacat.provenance import library_versions, processor


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def copy_into(folder: Path) -> ModuleType:
    """Return the module, copied to another folder."""
    path = folder / "package" / "provenance.py"
    path.parent.mkdir()
    shutil.copy(provenance.__file__, path)
    spec = importlib.util.spec_from_file_location("copied_provenance", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set where the tests run in a hook
        monkeypatch.delenv(name, raising=False)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "other.txt").write_text("1")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_the_revision_is_the_clones_commit(repository: Path) -> None:
    module = copy_into(repository)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "second")
    assert module.git_revision() == git(repository, "rev-parse", "HEAD")


def test_changed_files_mark_the_revision_and_untracked_ones_do_not(repository: Path) -> None:
    module = copy_into(repository)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "second")
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "logs.txt").write_text("new")
    assert module.git_revision() == commit
    (repository / "other.txt").write_text("2")
    assert module.git_revision() == commit + "+"


def test_the_commit_of_another_project_is_not_reported(repository: Path) -> None:
    """A package that is installed in a clone, such as in its virtual environment, is not tracked by it."""
    assert copy_into(repository).git_revision() is None


def test_there_is_no_revision_outside_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert copy_into(tmp_path).git_revision() is None


def test_there_is_no_revision_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = copy_into(repository)
    monkeypatch.setenv("PATH", "")
    assert module.git_revision() is None


def test_the_installed_versions_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = library_versions()
    assert {"trajectory_adacat", "torch", "numpy", "gymnasium", "mujoco"} <= versions.keys()
    assert versions["numpy"] == version("numpy")
    monkeypatch.setattr(provenance, "LIBRARIES", ("no-such-library",))
    assert library_versions() == {"no-such-library": "not installed"}


def test_the_processor_is_named_with_its_vector_instructions() -> None:
    name, _, capability = processor().rpartition(" ")
    assert name
    assert capability == f"({torch.backends.cpu.get_cpu_capability()})"


def test_a_gpu_that_computes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    assert processor("cuda:1") == f"{processor()}, card of cuda:1"
    assert processor("cpu") == processor()
