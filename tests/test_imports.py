"""Imports run downward only, and what a report needs loads neither torch nor MuJoCo."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trajectory_adacat"
FOLDERS = {"scripts": ROOT / "scripts", "plotting": ROOT / "plotting", "config": ROOT / "config"}  # see setup.py

# What each part of the package may import of it, besides itself. Every part may import the first three.
EVERYWHERE = {"errors", "checks", "files", "provenance", "settings", "signals", "legacy"}
GROUND = {"robots", "transition", "environments", "distributions"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "checks": set(),
    "files": set(),
    "provenance": set(),
    "robots": set(),
    "transition": set(),
    "dynamics": set(),
    "environments": {"robots", "dynamics"},
    "distributions": set(),
    "datasets": {"robots", "transition", "environments"},
    "models": GROUND,
    "checkpoint": {"models", "datasets", *GROUND},
    "training": {"datasets", "models", "checkpoint", *GROUND},
    "training.logger": set(),
    "critic": {"datasets", "training", "checkpoint", *GROUND},
    "conversion": {"datasets", "models", "training", *GROUND},
    "planning": {"models", "checkpoint", "datasets.normalization", *GROUND},
    "evaluation": {
        "planning",
        "checkpoint",
        "computing",
        "profiling",
        "recording",
        "rendering",
        "datasets.sequences",
        *GROUND,
    },
    "evaluation.results": set(),
    "evaluation.density_results": {"training.lock"},
    "evaluation.scores": {"robots"},
    "evaluation.source": {"planning", "checkpoint", "critic", "datasets.cache"},
    "evaluation.statistics": set(),
    "pretrained": {
        *("checkpoint", "critic", "training.logger"),
        *("evaluation.results", "evaluation.statistics"),
    },
    "density": {"models", "training", "checkpoint", *GROUND},
    "sweep": {
        *("command_line", "checkpoint", "datasets.cache", "evaluation.results", "evaluation.density_results", "robots"),
        *("training.interruption", "training.lock", "training.logger"),
    },
    "computing": set(),
    "profiling": set(),
    "recording": set(),
    "rendering": set(),
    "settings": set(),
    "signals": set(),
    "legacy": set(),
    "configuration": set(),
    "extras": set(),
    "command_line": {"configuration", "extras"},
    "console": {"command_line", "extras"},
    "config": set(),
    "report": {"command_line", "plotting", "recording"},
    "plotting": {
        *("command_line", "training.logger"),
        *("evaluation.results", "evaluation.scores", "evaluation.statistics", "extras", "recording"),
        "evaluation.density_results",
    },
}
LIGHT = [
    *("trajectory_adacat.robots", "trajectory_adacat.evaluation.results", "trajectory_adacat.evaluation.scores"),
    *(
        "trajectory_adacat.recording",
        "trajectory_adacat.evaluation.statistics",
        "trajectory_adacat.command_line",
        "trajectory_adacat.console",
    ),
    "trajectory_adacat.report",
    *(f"trajectory_adacat.plotting.{path.stem}" for path in sorted(FOLDERS["plotting"].glob("[!_]*.py"))),
]
LEGACY = {"gym", "d4rl", "mujoco_py"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module's dotted name below the package, and its file."""
    for base, prefix in [(PACKAGE, ""), *((folder, f"{name}.") for name, folder in FOLDERS.items())]:
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            yield (prefix + ".".join(part for part in parts if part != "__init__")).rstrip("."), path


MODULES = dict(modules())


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; ``from a import b`` may mean a.b or a."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_the_package(path: Path) -> set[str]:
    """The package's modules that a file imports, without the package's own name."""
    found = set()
    for name in imported(path):
        inner = name.removeprefix("trajectory_adacat.")
        if name != inner:
            found.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return found


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


@pytest.mark.parametrize("module", [name for name in MODULES if name and not within(name, "scripts")])
def test_imports_run_downward(module: str) -> None:
    own = module if module in ALLOWED else module.partition(".")[0]
    assert own in ALLOWED, f"{module} has no place in the order of imports yet: give it one in this test"
    allowed = {own, *ALLOWED[own], *EVERYWHERE}
    wrong = {name for name in of_the_package(MODULES[module]) if not any(within(name, part) for part in allowed)}
    assert not wrong, f"{module} may not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("module", [name for name in MODULES if name and not within(name, "scripts")])
def test_nothing_below_imports_the_scripts(module: str) -> None:
    assert not [name for name in of_the_package(MODULES[module]) if within(name, "scripts")]


@pytest.mark.parametrize("module", list(MODULES))
def test_nothing_imports_the_legacy_stack(module: str) -> None:
    assert not LEGACY & {name.partition(".")[0] for name in imported(MODULES[module])}


def test_package_files_import_nothing_but_three() -> None:
    full = {path.parent.name for path in MODULES.values() if path.name == "__init__.py" and list(imported(path))}
    assert full <= {"distributions", "datasets", "density"}


def test_reports_load_neither_torch_nor_mujoco() -> None:
    """One process imports all: what none of them loads together, none loads alone."""
    code = (
        f"import importlib, sys\nfor name in {LIGHT}:\n    importlib.import_module(name)\n"
        "    heavy = {'torch', 'mujoco', 'gymnasium'} & set(sys.modules)\n    assert not heavy, (name, heavy)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
