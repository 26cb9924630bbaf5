"""The comparison on speech on a tiny scale."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from benchmarks import audio_density
from trajectory_adacat.evaluation.density_results import load_density_results

TINY = ["crop=64", "n_fft=32", "hop=16", "n_mels=3", "n_layers=2", "residual=4", "skip=4", "batch_size=2", "n_steps=2"]
TINY += ["n_clips=2", "clip_seconds=0.01", "verbose=false"]


def test_every_method_is_trained_once_with_its_smoothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "speech" / "wavs").mkdir(parents=True)
    for i in range(40):
        samples = np.random.default_rng(i).integers(-999, 999, 200).astype(np.int16)
        wavfile.write(tmp_path / "data" / "speech" / "wavs" / f"{i}.wav", 8000, samples)
    (tmp_path / "data" / "speech" / "metadata.csv").write_text("".join(f"{i}||\n" for i in range(40)))
    flags = ["--methods", "adacat", "adacat_published", "gaussian", "--seeds", "0", "--more", *TINY]
    audio_density.main(flags)
    out = tmp_path / "results" / "density" / "audio"
    first, second, third = load_density_results([out])
    assert first.settings["model"]["form"]["smooth_start"] == 0.2
    assert second.settings["model"]["form"]["smooth_start"] is None
    assert (first.n_outputs, second.n_outputs, third.n_outputs) == (30, 30, 2)
    methods = ("adacat", "adacat_published", "gaussian")
    assert {path.name for path in out.glob("*.wav")} == {"real.wav", *(f"{name}_synthesized.wav" for name in methods)}
    assert [path.name for path in out.glob("*.png")] == ["adacat_spectrograms.png"]

    before = (out / "density.jsonl").read_bytes()
    audio_density.main(flags)
    assert (out / "density.jsonl").read_bytes() == before
