"""Records of failed rollouts: written once a seed, and gone when the seed is planned again."""

import json
from pathlib import Path

from trajectory_adacat.evaluation.failures import FailuresWriter
from trajectory_adacat.evaluation.rollout import EpisodeResult


def test_failures_are_written_and_forgotten_by_seed(tmp_path: Path) -> None:
    writer = FailuresWriter(tmp_path / "plans", {"environment": "Line-v0"}, {"plan_freq": 1}, "ab12")
    writer.forget(3)
    assert not (tmp_path / "plans").exists()
    assert writer.write(EpisodeResult(3, error="cut")) == "Line-v0, seed 3, failed at its reset: cut"
    writer.write(EpisodeResult(4, error="cut"))
    records = [json.loads(line) for line in writer.path.read_text().splitlines()]
    assert [record["rollout_seed"] for record in records] == [3, 4]
    assert records[0]["checkpoint"] == "ab12"
    assert writer.seeds == {3, 4}
    writer.forget(3)
    assert [json.loads(line)["rollout_seed"] for line in writer.path.read_text().splitlines()] == [4]
    writer.forget(4)
    assert not writer.path.exists()
