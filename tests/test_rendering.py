"""Frames without a display, and their video. Skipped where MuJoCo cannot draw off-screen."""

import subprocess
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from trajectory_adacat import rendering
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError


@pytest.fixture(scope="module")
def backend() -> str:
    found = rendering.find_backend()
    if found is None:
        pytest.skip(rendering.NO_BACKEND)
    return found


def test_drawing_shows_the_robot_and_changes_no_step(backend: str) -> None:
    ends = []
    for draws in (False, True):
        environment = make_environment("hopper-medium-v2")
        environment.reset(seed=0)
        camera = rendering.Camera(environment, 64) if draws else None
        frames = []
        for _ in range(8):
            if camera is not None:
                frames.append(camera.draw())
            end = environment.step(np.full(3, 0.5))
        ends.append(end)
    assert frames[0].shape == (64, 64, 3)
    assert frames[0].std() > 5.0
    assert (frames[0] != frames[-1]).any()
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    assert ends[0][1:4] == ends[1][1:4]


def test_an_environment_without_mujoco_has_no_frames() -> None:
    with pytest.raises(InputError, match="not one of MuJoCo's"):
        rendering.Camera(gymnasium.make("CartPole-v1"))


def test_one_paragraph_says_what_to_install_where_nothing_can_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "find_backend", lambda: None)
    with pytest.raises(InputError, match="neither with EGL nor with OSMesa"):
        rendering.Camera(make_environment("hopper-medium-v2"))


def test_a_video_has_all_frames(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = [np.full((32, 48, 3), 20 * i, np.uint8) for i in range(10)]
    path = tmp_path / "video.mp4"
    path.write_bytes(rendering.encode(frames, 20.0))
    count, seconds = ffmpeg.count_frames_and_secs(str(path))
    assert (count, round(seconds, 2)) == (10, 0.5)
    shown = subprocess.run([ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True, check=False)
    assert "h264" in shown.stderr
