"""What is installed, with what, and the commands that do it. No network."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from setuptools import Distribution

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("trajectory_adacat", "scripts", "plotting", "config")
PYTHON = "3.11"


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


def pins() -> dict[str, Version]:
    """The exact versions of requirements.txt."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    specifiers = {name_of(str(r)): list(r.specifier) for r in requirements}
    assert all(len(found) == 1 and found[0].operator == "==" for found in specifiers.values())
    return {name: Version(found[0].version) for name, found in specifiers.items()}


@pytest.fixture(scope="module")
def distribution() -> Distribution:
    """What setup.py declares."""
    from distutils.core import run_setup

    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return run_setup("setup.py", stop_after="init")
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a package is built from, so that no build folder is left in the clone."""
    copy = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def site_packages(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel, built by way of its source archive, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    archive = run(sys.executable, "-c", code, folder, cwd=source)
    assert archive.returncode == 0, archive.stderr
    archive_path = folder / archive.stdout.splitlines()[-1]
    options: list[str | Path] = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    built = run(sys.executable, "-m", "pip", "wheel", *options, archive_path, cwd=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site-packages")
    return folder / "site-packages"


# what is installed


def test_only_the_package_is_installed(site_packages: Path) -> None:
    names = {path.name for path in site_packages.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"trajectory_adacat"}


def test_every_module_and_data_file_is_installed(site_packages: Path) -> None:
    package = site_packages / "trajectory_adacat"
    expected = {path.relative_to(ROOT / "trajectory_adacat") for path in (ROOT / "trajectory_adacat").rglob("*.py")}
    for name in BUILT_FROM[1:]:
        expected |= {Path(name) / path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*.py")}
    expected |= {Path("plotting/published_scores.json"), Path("datasets/d4rl_checksums.tsv")}
    expected |= {Path(f"datasets/behavior/{robot}-medium.npz") for robot in ("hopper", "halfcheetah", "walker2d")}
    assert {path for path in expected if not (package / path).is_file()} == set()


def test_the_installed_package_works_outside_the_clone(site_packages: Path, tmp_path: Path) -> None:
    modules = "trajectory_adacat.scripts, trajectory_adacat.plotting.table, trajectory_adacat.config.offline"
    code = f"import {modules}; print(trajectory_adacat.config.offline.__file__)"
    imported = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(site_packages))
    assert imported.returncode == 0, imported.stderr
    assert Path(imported.stdout.strip()).is_relative_to(site_packages)
    code = "from trajectory_adacat.console import main; main(['table', '--help'])"
    helped = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(site_packages))
    assert helped.returncode == 0, helped.stderr
    assert "--published" in helped.stdout


def test_a_script_runs_by_its_path_in_the_clone(tmp_path: Path) -> None:
    shown = run(sys.executable, ROOT / "plotting" / "table.py", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    missing = run(sys.executable, ROOT / "plotting" / "table.py", "nowhere", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr == "error: There is no file or folder nowhere to read rollout results from.\n"


def test_entry_points(distribution: Distribution) -> None:
    assert distribution.entry_points == {
        "console_scripts": ["trajectory-adacat = trajectory_adacat.console:main"],
        "gymnasium.envs": ["__root__ = trajectory_adacat.environments:register_environments"],
    }
    (console,) = entry_points(group="console_scripts", name="trajectory-adacat")
    (plugin,) = (p for p in entry_points(group="gymnasium.envs") if p.value.startswith("trajectory_adacat"))
    assert callable(console.load())
    assert callable(plugin.load())


# with what


def test_pins_lie_within_the_ranges(distribution: Distribution) -> None:
    pinned = pins()
    extras: dict[str, list[str]] = distribution.extras_require
    for requirement in [*distribution.install_requires, *extras["test"]]:
        assert pinned[name_of(requirement)] in Requirement(requirement).specifier, requirement


def test_the_installed_versions_are_the_pinned_ones() -> None:
    frozen = run(sys.executable, "-m", "pip", "list", "--format=freeze", cwd=ROOT).stdout.splitlines()
    installed = {name_of(line): Version(line.partition("==")[2].partition("+")[0]) for line in frozen if "==" in line}
    pinned = pins()
    assert {name: version for name, version in installed.items() if name in pinned and pinned[name] != version} == {}


def test_imported_libraries_are_declared(distribution: Distribution) -> None:
    declared = {name_of(requirement) for requirement in distribution.install_requires}
    declared |= {name_of(r) for extra in ("minari", "tensorboard", "video") for r in distribution.extras_require[extra]}
    names = {"tap": "typed-argument-parser", "imageio_ffmpeg": "imageio-ffmpeg"}
    found = set()
    for folder in BUILT_FROM:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found |= {module.partition(".")[0] for module in modules}
    outside = found - set(sys.stdlib_module_names) - {"trajectory_adacat"}
    assert {names.get(module, module) for module in outside} <= declared


def test_extras(distribution: Distribution) -> None:
    extras: dict[str, list[str]] = distribution.extras_require
    assert {"minari", "tensorboard", "video", "d4rl", "test", "dev"} <= set(extras)
    assert {name_of(requirement) for requirement in extras["d4rl"]} == {"gym", "d4rl"}


def test_conda_says_the_same() -> None:
    lines = [line.strip().removeprefix("- ") for line in (ROOT / "environment.yml").read_text().splitlines()]
    conda = lines[lines.index("dependencies:") + 1 : lines.index("pip:")]
    assert conda == [f"python={PYTHON}", "pip"]
    assert lines[lines.index("pip:") + 1 :] == ["-r requirements.txt"]  # the very pins that make installs


# the commands


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def planned(clone: Path, target: str, *arguments: str) -> str:
    shown = run("make", "--dry-run", target, *arguments, cwd=clone)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.mark.parametrize(("target", "last"), [("demo", "scripts/demo.py"), ("test", "-m pytest -n 2")])
def test_one_command_installs_and_runs(clone: Path, target: str, last: str) -> None:
    plan = planned(clone, target)
    install, package, ran = (
        plan.index(part) for part in ("install --requirement requirements.txt", "--editable .", last)
    )
    assert plan.index("-m venv") < install < package < ran


def test_the_installation_is_done_once(clone: Path) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / "installed").touch()
    assert "pip install" not in planned(clone, "test")
    newer = (clone / ".venv" / "installed").stat().st_mtime + 10
    os.utime(clone / "requirements.txt", (newer, newer))
    assert "pip install" in planned(clone, "test")


def test_another_python_is_refused(clone: Path) -> None:
    old = clone / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    refused = run("make", "test", f"PYTHON={old}", cwd=clone)
    assert refused.returncode != 0
    assert f"{old} is not Python {PYTHON}" in refused.stderr
    missing = run("make", "test", "PYTHON=", cwd=clone)
    assert missing.returncode != 0
    assert f"Python {PYTHON} was not found" in missing.stderr
    assert not (clone / ".venv").exists()


def test_ci_calls_make_test_and_hands_on_its_exit_code(tmp_path: Path) -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$PWD: make $*"\nexit 7\n')
    make.chmod(0o755)
    called = run("bash", script, cwd=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert called.stdout == f"{ROOT}: make test\n"
    assert called.returncode == 7


def test_types_of_setup_py(distribution: Distribution) -> None:
    metadata: Any = distribution.metadata
    assert (metadata.name, metadata.license) == ("trajectory-adacat", "MIT")
