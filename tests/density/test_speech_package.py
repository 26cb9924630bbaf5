"""The folder of LJSpeech's layout from a Debian package."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from trajectory_adacat.density.audio_data import load_speech
from trajectory_adacat.density.speech_package import convert
from trajectory_adacat.errors import InputError

CONTROL = "Package: sounds\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: sounds\n"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_the_recordings_of_a_package_can_be_loaded(tmp_path: Path) -> None:
    tree, package = tmp_path / "tree", tmp_path / "sounds.deb"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    for i, name in enumerate(("hello", "digits/1", "digits/2", "silence/1", "bye")):
        path = tree / "usr" / "share" / "voice" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, 8000, np.full(50, i, np.int16))
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", str(tree), str(package)], check=True)

    assert convert(package, tmp_path / "speech", hashlib.sha256(package.read_bytes()).hexdigest()) == 4
    names = [line.split("|")[0] for line in (tmp_path / "speech" / "metadata.csv").read_text().splitlines()]
    assert names == ["bye", "digits_1", "digits_2", "hello"]
    data = load_speech(tmp_path / "speech")
    assert sorted(int(x[0]) for x in [*data.training, *data.validation, *data.test]) == [0, 1, 2, 4]


def test_another_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make speech"):
        convert(tmp_path / "sounds.deb", tmp_path)
    (tmp_path / "sounds.deb").write_bytes(b"something else")
    with pytest.raises(InputError, match="SHA-256"):
        convert(tmp_path / "sounds.deb", tmp_path)
