"""d3rlpy's environment and the package's."""

from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]


def pins(path: Path) -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return {Requirement(line).name: str(Requirement(line).specifier) for line in lines if line}


def test_both_environments_have_the_same_versions_of_what_the_package_imports() -> None:
    ours, theirs = pins(ROOT / "requirements.txt"), pins(ROOT / "benchmarks" / "baselines" / "requirements.txt")
    assert all(specifier.startswith("==") for specifier in theirs.values())
    assert {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]} == {"gymnasium"}
    assert {"torch", "numpy", "scipy", "h5py", "typed-argument-parser", "tqdm"} <= ours.keys() & theirs.keys()


def test_the_package_does_not_depend_on_d3rlpy() -> None:
    for name in ("requirements.txt", "setup.py", "environment.yml"):
        assert "d3rlpy" not in (ROOT / name).read_text()
