"""Make a folder of LJSpeech's layout from a Debian package of recorded speech: `make speech`."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from trajectory_adacat.density.splits import check_package
from trajectory_adacat.errors import InputError

PACKAGE = "asterisk-core-sounds-en-wav_1.6.1-1_all.deb"
PACKAGE_SHA256 = "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d"
SKIPPED = "silence"  # its recordings hold nothing but zeros


def convert(package: Path, target: Path, sha256: str = PACKAGE_SHA256) -> int:
    """Write the recordings of the Debian ``package`` to ``target`` as LJSpeech's layout; return their number.

    The package has no transcripts, so those fields of ``metadata.csv`` are empty.

    Raises:
        InputError: if the package is missing, damaged or another version, or dpkg is missing.
    """
    if not package.exists():
        raise InputError(f"{package} is missing: run `make speech`.")
    check_package(package, sha256)
    if shutil.which("dpkg") is None:
        raise InputError("dpkg was not found. It unpacks the package; Debian and Ubuntu have it.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg", "-x", str(package), folder], check=True)
        return arrange(Path(folder), target)


def arrange(source: Path, target: Path) -> int:
    """Copy all WAV files below ``source`` to ``target/wavs`` and list them in ``metadata.csv``; return their number.

    A file's name is its path below the folder that holds all files, joined by ``_``.
    """
    files = sorted(source.rglob("*.wav"))
    names = {path: path.relative_to(common_folder(files)).with_suffix("").parts for path in files}
    kept = {path: "_".join(parts) for path, parts in names.items() if SKIPPED not in parts[:-1]}
    (target / "wavs").mkdir(parents=True, exist_ok=True)
    for path, name in kept.items():
        shutil.copyfile(path, target / "wavs" / f"{name}.wav")
    lines = "".join(f"{name}||\n" for name in kept.values())
    (target / "metadata.csv").write_text(lines, encoding="utf-8")
    return len(kept)


def common_folder(files: list[Path]) -> Path:
    """Return the deepest folder that holds all ``files``."""
    return next(folder for folder in files[0].parents if all(folder in path.parents for path in files))


if __name__ == "__main__":
    print(f"{convert(Path(sys.argv[1]) / PACKAGE, Path(sys.argv[1]))} recordings in {sys.argv[1]}")
