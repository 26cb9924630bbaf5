"""A folder of density results, with a table, pictures, a sound and a training's log."""

import io
import json
import wave
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest


def line(form: str, seed: int, nll: float, **changes: Any) -> str:
    values = {"dataset": "ccpp", "form": form, "seed": seed, "nll": nll, "unit": "nats per row", "n_parameters": 64}
    return json.dumps({**values, "settings": {"k": 32}, "measures": {"mcd": 2.0 * seed}, **changes}) + "\n"


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        tone = 8000 * np.sin(np.arange(800))
        out.writeframes(tone.astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture
def density(tmp_path: Path) -> Path:
    folder = tmp_path / "density" / "audio"
    (folder / "samples").mkdir(parents=True)
    results = [line("adacat", seed, 4.0 + 0.2 * seed) for seed in range(3)]
    results += [line("uniform", 0, 5.0), line("uniform", 0, 6.0, settings={"k": 64})]
    (folder / "density.jsonl").write_text("".join(results))
    (folder / "table.md").write_text("# A table\n\n| data | nats |\n|---|---|\n| ccpp | 4.2 |\n\n- a note\n")
    matplotlib.image.imsave(folder / "samples" / "first.png", np.eye(8))
    (folder / "samples" / "first.wav").write_bytes(sound())
    matplotlib.image.imsave(folder / "grid.png", np.eye(8))
    training = tmp_path / "density" / "trainings" / "adacat_0"
    training.mkdir(parents=True)
    logged = [{"step": step, "loss": 1.0 / step, "validation": 5.0 - step} for step in (1, 2)]
    (training / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in logged))
    return tmp_path / "density"
