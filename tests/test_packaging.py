"""The installed files, the requirements, and the commands that install them. No network."""

import ast
import functools
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from importlib.metadata import PackageNotFoundError, entry_points, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from setuptools import Distribution

from trajectory_adacat.extras import OPTIONAL

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("trajectory_adacat", "scripts", "plotting", "config")
PYTHON = "3.11"


packages_distributions = functools.cache(metadata.packages_distributions)  # reads the files of every package


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
    """Read the exact versions of requirements.txt."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    specifiers = {name_of(str(r)): list(r.specifier) for r in requirements}
    assert all(len(found) == 1 and found[0].operator == "==" for found in specifiers.values())
    return {name: Version(found[0].version) for name, found in specifiers.items()}


def modules_of(requirements: Iterable[str]) -> set[str]:
    """Return the top-level modules that installing these requirements provides, dependencies included."""
    pending, packages = [Requirement(text) for text in requirements], set()
    while pending:
        requirement = pending.pop()
        installed = (name_of(str(requirement)), *sorted(requirement.extras))
        if installed in packages:
            continue
        packages.add(installed)
        try:
            dependencies = [Requirement(text) for text in requires(requirement.name) or []]
        except PackageNotFoundError:  # an optional dependency of this platform
            continue
        for dependency in dependencies:
            extras = ("", *requirement.extras)
            if dependency.marker is None or any(dependency.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(dependency)
    names = {package[0] for package in packages}
    return {module for module, owners in packages_distributions().items() if names & {*map(name_of, owners)}}


def run_with(requirements: Iterable[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run code that cannot import any installed package but this one, the requirements and their dependencies."""
    hidden = set(packages_distributions()) - modules_of(requirements) - {"trajectory_adacat"}
    restrict = f"""
import sys
from importlib.machinery import PathFinder

class Restricted(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {hidden!r}
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path = [Restricted if finder is PathFinder else finder for finder in sys.meta_path]
"""
    return run(sys.executable, "-c", restrict + code, cwd=ROOT)


@pytest.fixture(scope="module")
def distribution() -> Distribution:
    """The metadata that setup.py declares."""
    from distutils.core import run_setup

    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return run_setup("setup.py", stop_after="init")
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that the package is built from, so that the clone gets no build folder."""
    copy = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def site_packages(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of the wheel that is built from the source archive."""
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


# installed files


def test_only_the_package_is_installed(site_packages: Path) -> None:
    names = {path.name for path in site_packages.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"trajectory_adacat"}


def test_every_module_and_data_file_is_installed(site_packages: Path) -> None:
    package = site_packages / "trajectory_adacat"
    expected = {path.relative_to(ROOT / "trajectory_adacat") for path in (ROOT / "trajectory_adacat").rglob("*.py")}
    for name in BUILT_FROM[1:]:
        expected |= {Path(name) / path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*.py")}
    expected |= {Path("plotting/published_scores.json"), Path("datasets/d4rl_checksums.tsv")}
    models = ROOT / "trajectory_adacat" / "pretrained"
    expected |= {path.relative_to(models.parent) for path in models.glob("*-*/**/*") if path.is_file()}
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
    assert missing.returncode == 3
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


# requirements


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


def test_imported_packages_are_core_or_belong_to_an_extra(distribution: Distribution) -> None:
    found = set()
    for folder in BUILT_FROM:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found |= {module.partition(".")[0] for module in modules}
    outside = found - set(sys.stdlib_module_names) - {"trajectory_adacat"}
    core = {name_of(requirement) for requirement in distribution.install_requires}
    assert core == {"torch", "numpy"}
    assert outside <= core | set(OPTIONAL)
    for package, extra in OPTIONAL.values():
        assert package in {name_of(requirement) for requirement in distribution.extras_require[extra]}


def test_extras(distribution: Distribution) -> None:
    extras: dict[str, list[str]] = distribution.extras_require
    single = ("training", "environments", "plots", "minari", "report", "tensorboard")
    assert set(extras) == {*single, "all", "behavior", "d4rl", "ray", "wandb", "notebook", "test", "dev"}
    assert set(extras["all"]) == {requirement for extra in single for requirement in extras[extra]}
    assert set(extras["all"]) <= set(extras["test"])
    assert {name_of(requirement) for requirement in extras["d4rl"]} == {"gym", "d4rl"}


@pytest.mark.parametrize(
    ("extra", "modules"),
    [
        ("environments", ["environments", "dynamics"]),
        (
            "training",
            ["scripts.train", "scripts.critic", "scripts.plan", "scripts.convert", "scripts.collect", "scripts.export"],
        ),
        ("plots", ["plotting.table", "plotting.plot", "plotting.curves", "plotting.compare"]),
    ],
)
def test_an_extra_suffices_for_its_modules(distribution: Distribution, extra: str, modules: list[str]) -> None:
    imports = "".join(f"import trajectory_adacat.{module}\n" for module in modules)
    imported = run_with([*distribution.install_requires, *distribution.extras_require[extra]], imports)
    assert imported.returncode == 0, imported.stderr


def test_the_core_suffices_for_the_distributions_and_the_model(distribution: Distribution) -> None:
    code = """
import torch
import trajectory_adacat.models.gpt
from trajectory_adacat.distributions import AdaCat, TruncatedUniform

targets = torch.rand(3)
density = AdaCat.from_params(torch.randn(3, 10, requires_grad=True))
loss = density.smoothed_log_prob(TruncatedUniform(targets, width=0.01)) + density.log_prob(targets)
loss.sum().backward()
assert density.keep_top_bins(2).sample((4,)).shape == (4, 3)
"""
    used = run_with(distribution.install_requires, code)
    assert used.returncode == 0, used.stderr


@pytest.mark.parametrize(
    ("extras", "argv", "message"),
    [
        ([], [], "typed-argument-parser is not installed: pip install 'trajectory-adacat[all]'"),
        (["training"], ["density", "toy"], "matplotlib is not installed: pip install 'trajectory-adacat[plots]'"),
        (["plots"], ["train"], "safetensors is not installed: pip install 'trajectory-adacat[training]'"),
    ],
)
def test_a_command_names_the_missing_extra(
    distribution: Distribution, extras: list[str], argv: list[str], message: str
) -> None:
    requirements = [*distribution.install_requires, *(r for e in extras for r in distribution.extras_require[e])]
    refused = run_with(requirements, f"from trajectory_adacat.console import main\nmain({argv})\n")
    assert refused.returncode == 2
    assert refused.stderr == f"error: {message}\n"


def test_conda_installs_the_pinned_versions() -> None:
    lines = [line.strip().removeprefix("- ") for line in (ROOT / "environment.yml").read_text().splitlines()]
    conda = lines[lines.index("dependencies:") + 1 : lines.index("pip:")]
    assert conda == [f"python={PYTHON}", "pip"]
    assert lines[lines.index("pip:") + 1 :] == ["-r requirements.txt"]  # as make does


# commands


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


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


def test_ci_runs_make_and_returns_its_exit_code(tmp_path: Path) -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$PWD: make $*"\nexit 7\n')
    make.chmod(0o755)
    called = run("bash", script, cwd=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert called.stdout == f"{ROOT}: make lint test\n"
    assert called.returncode == 7


def test_types_of_setup_py(distribution: Distribution) -> None:
    metadata: Any = distribution.metadata
    assert (metadata.name, metadata.license) == ("trajectory-adacat", "MIT")
