"""Frames of a MuJoCo environment without a display, and their video."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from trajectory_adacat.errors import InputError

BACKENDS = ("egl", "osmesa")  # tried in this order
PROBE_SECONDS = 60
SIZE = 240  # pixels
KEYFRAMES = 12  # frames between two key frames: few, so that a player can jump
NO_BACKEND = (
    "No frames are recorded: MuJoCo can draw off-screen neither with EGL nor with OSMesa here. Install one of them (on "
    "Debian and Ubuntu: apt-get install libegl1 or libosmesa6). The results do not depend on it."
)

Frame = NDArray[np.uint8]


class Camera:
    """Draw the state of a MuJoCo environment. The simulation is not touched: a copy of its state is drawn.

    Args:
        environment: the environment, with a MuJoCo ``model`` and ``data``.
        size: width and height in pixels; even.

    Raises:
        InputError: if the environment has no MuJoCo state, or if nothing can draw it.
    """

    def __init__(self, environment: gymnasium.Env, size: int = SIZE) -> None:
        self._state = cast(Any, environment.unwrapped)
        if not all(hasattr(self._state, name) for name in ("model", "data")):
            raise InputError("No frames are recorded: the environment is not one of MuJoCo's.")
        backend = find_backend()
        if backend is None:
            raise InputError(NO_BACKEND)
        import mujoco

        self._mujoco, self._model = mujoco, self._state.model
        self._context = import_module(f"mujoco.{backend}").GLContext(size, size)
        self._context.make_current()
        self._model.vis.global_.offwidth = max(self._model.vis.global_.offwidth, size)
        self._model.vis.global_.offheight = max(self._model.vis.global_.offheight, size)
        self._data = mujoco.MjData(self._model)
        self._scene = mujoco.MjvScene(self._model, 1000)
        self._drawing = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
        self._camera = _following_camera(mujoco, self._model)
        self._viewport = mujoco.MjrRect(0, 0, size, size)

    def draw(self) -> Frame:
        """Return the picture of the current state, ``[size, size, 3]``."""
        mujoco = self._mujoco
        self._context.make_current()
        mujoco.mj_copyData(self._data, self._model, self._state.data)
        options, categories = mujoco.MjvOption(), mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, self._data, options, None, self._camera, categories, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._drawing)
        frame = np.empty((self._viewport.height, self._viewport.width, 3), np.uint8)
        mujoco.mjr_readPixels(frame, None, self._viewport, self._drawing)
        return np.flipud(frame)

    def close(self) -> None:
        """Free the memory of the graphics driver."""
        self._drawing.free()
        self._context.free()


def _following_camera(mujoco: Any, model: Any) -> Any:
    """Return the model's own camera ``track``, or a camera that follows the first body."""
    camera = mujoco.MjvCamera()
    named = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if named >= 0:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, named
    else:
        mujoco.mjv_defaultFreeCamera(model, camera)
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, min(1, model.nbody - 1)
    return camera


def find_backend() -> str | None:
    """Return the first of `BACKENDS` that can draw, or None.

    A process can load only one of them, and a failed one may end it, so that each is tried in a process of its own.
    """
    return next((backend for backend in BACKENDS if _can_draw(backend)), None)


def _can_draw(backend: str) -> bool:
    code = f"from mujoco.{backend} import GLContext; GLContext(8, 8).make_current()"
    try:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def encode(frames: Sequence[Frame], frames_per_second: float) -> bytes:
    """Return the frames as H.264 in MP4.

    Raises:
        ModuleNotFoundError: if imageio-ffmpeg is missing.
    """
    import imageio_ffmpeg

    height, width, _ = frames[0].shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        options = [
            "-g",
            str(KEYFRAMES),
            "-crf",
            "30",
            "-preset",
            "veryfast",
            "-threads",
            "1",
            "-movflags",
            "+faststart",
        ]
        writer = imageio_ffmpeg.write_frames(
            str(path), (width, height), fps=frames_per_second, quality=None, output_params=options, macro_block_size=2
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()
