"""Folders of LJSpeech's layout."""

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from trajectory_adacat.density.audio_data import load_speech
from trajectory_adacat.errors import DataError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty recordings, of which number i has 100 + i samples of the value i."""
    (tmp_path / "wavs").mkdir()
    for i in range(40):
        wavfile.write(tmp_path / "wavs" / f"LJ{i:03}.wav", 8000, np.full(100 + i, i, np.int16))
    lines = [f'LJ{i:03}|Some "words"|Some words\n' for i in range(40)]
    (tmp_path / "metadata.csv").write_text("".join(lines))
    return tmp_path


def test_every_recording_is_in_one_split(folder: Path) -> None:
    data = load_speech(folder)
    assert [len(data.training), len(data.validation), len(data.test)] == [36, 2, 2]
    splits = [*data.training, *data.validation, *data.test]
    assert sorted(int(samples[0]) for samples in splits) == list(range(40))
    assert all(len(samples) == 100 + samples[0] for samples in splits)
    assert data.rate == 8000
    assert data.sha256 == load_speech(folder).sha256


def test_recordings_that_the_metadata_leaves_out_are_not_read(folder: Path) -> None:
    before = load_speech(folder)
    (folder / "wavs" / "another.wav").write_bytes(b"")
    assert load_speech(folder).sha256 == before.sha256


def test_a_split_is_cut_to_its_length(folder: Path) -> None:
    whole, data = load_speech(folder), load_speech(folder, 250 / 8000, 0.01, 0.02)
    assert sum(map(len, data.training)) == 250
    assert np.array_equal(np.concatenate(data.training), np.concatenate(whole.training)[:250])
    assert (sum(map(len, data.validation)), sum(map(len, data.test))) == (80, 160)
    assert data.sha256 == whole.sha256


def test_other_samples_have_another_hash(folder: Path) -> None:
    before = load_speech(folder)
    wavfile.write(folder / "wavs" / "LJ003.wav", 8000, np.full(103, 4, np.int16))
    assert load_speech(folder).sha256 != before.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((9, 2), np.int16), "one channel"),
        (np.zeros(9, np.float32), "16 bits"),
        (b"no audio", "damaged"),
        (None, "missing"),
    ],
)
def test_a_bad_recording_is_refused(folder: Path, content: np.ndarray | bytes | None, message: str) -> None:
    path = folder / "wavs" / "LJ007.wav"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        wavfile.write(path, 8000, content)
    with pytest.raises(InputError, match=f"LJ007.*{message}"):
        load_speech(folder)


@pytest.mark.parametrize("length", [0, 3, 6, 10, 14, 18, 30, 38, 42, 44, 45, 60, 257])
def test_a_recording_that_is_cut_off_is_refused(folder: Path, length: int) -> None:
    path = folder / "wavs" / "LJ007.wav"  # 44 bytes of header and 107 samples
    content = path.read_bytes()
    assert len(content) == 258
    path.write_bytes(content[:length])
    with pytest.raises(DataError, match=r"LJ007\.wav is (cut off|no WAV file, or damaged)"):
        load_speech(folder)


@pytest.mark.parametrize(
    ("place", "replacement"), [(4, struct.pack("<I", 28)), (22, struct.pack("<H", 0))], ids=["no data", "no channels"]
)
def test_a_recording_with_a_damaged_header_is_refused(folder: Path, place: int, replacement: bytes) -> None:
    path = folder / "wavs" / "LJ007.wav"
    content = path.read_bytes()
    path.write_bytes(content[:place] + replacement + content[place + len(replacement) :])
    with pytest.raises(DataError, match=r"LJ007\.wav is no WAV file, or damaged"):
        load_speech(folder)


def test_several_sampling_rates_are_refused(folder: Path) -> None:
    wavfile.write(folder / "wavs" / "LJ001.wav", 16000, np.zeros(9, np.int16))
    with pytest.raises(InputError, match="several sampling rates"):
        load_speech(folder)


def test_too_few_recordings_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text("LJ000||\nLJ001||\n")
    with pytest.raises(InputError, match="2 recordings: at least 3"):
        load_speech(folder)
    with pytest.raises(InputError, match="make speech"):
        load_speech(tmp_path / "nowhere")
