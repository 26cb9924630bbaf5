"""The benchmark of the synthesis on a tiny scale."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import synthesis
from trajectory_adacat.density.audio import synthesize
from trajectory_adacat.density.forms import FORMS
from trajectory_adacat.density.wavenet import WaveNet, WaveNetConfig


def test_both_ways_draw_the_same_samples() -> None:
    torch.manual_seed(0)
    sizes = {"n_layers": 3, "n_stacks": 1, "residual": 3, "skip": 4}
    model = WaveNet(WaveNetConfig(form=FORMS["uniform"](N=5), **sizes), 2, 4).eval()
    mel = torch.randn(2, 9, 2)
    torch.manual_seed(1)
    kept = synthesize(model, mel)
    torch.manual_seed(1)
    assert (synthesis.synthesize_anew(model, mel) - kept).abs().max() < 100


def test_the_table_and_the_file_have_both_speeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "synthesis.json"
    synthesis.main(["--clips", "1", "--frames", "1", "--repeats", "1", "--out", str(out)])
    assert "| small | 1 | 128 |" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["preset"] == "small"
    assert written["kept"] / written["anew"] == pytest.approx(written["factor"])
    assert written["versions"]["processor"]
