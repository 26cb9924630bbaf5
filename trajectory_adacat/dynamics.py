"""Reproduce the dynamics of gym's ``-v2`` robots on MuJoCo <= 2.1.0 with the installed MuJoCo.

D4RL's data and published scores come from that engine. Gymnasium's ``-v4`` robots have the same observations, rewards
and terminations. Newer MuJoCo versions differ in three points: the mass and inertia of capsules, the margin of
contacts, and the rotation of free bodies in a Runge-Kutta step. Small probe models test which of these differences the
installed version has (:func:`capsule_is_exact`, :func:`margins_add_up`, :func:`rotation_step_is_classical`); version
numbers are not used.
"""

import functools
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco.ant_v4 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v4 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v4 import HopperEnv
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.envs.mujoco.walker2d_v4 import Walker2dEnv

CAPSULE_PROBE = '<mujoco><worldbody><body><geom type="capsule" size="1 2" density="1"/></body></worldbody></mujoco>'
MARGIN_PROBE = """<mujoco><worldbody>
  <geom size="1" margin="1"/>
  <body pos="0 0 2.5"><freejoint/><geom size="1" margin="1"/></body>
</worldbody></mujoco>"""

ROTATION_PROBE = """<mujoco>
  <option integrator="RK4" timestep="0.1" gravity="0 0 0"/>
  <worldbody><body><freejoint/><geom type="box" size="1 2 3"/></body></worldbody>
</mujoco>"""

# The classical Runge-Kutta method of order four. Stages 2 to 4 use the previous stage's derivatives.
STAGES = (0.5, 0.5, 1.0)  # time of stages 2 to 4, as fractions of the step
WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)


@functools.cache
def capsule_is_exact() -> bool:
    """Return whether the installed MuJoCo computes a capsule's exact mass and inertia, not a lengthened cylinder's."""
    capsule = mujoco.MjSpec.from_string(CAPSULE_PROBE)
    exact = capsule.compile()
    lengthen_capsules(capsule)
    cylinder = capsule.compile()
    same_mass = np.allclose(exact.body_mass, cylinder.body_mass, rtol=1e-9)
    return not (same_mass and np.allclose(exact.body_inertia, cylinder.body_inertia, rtol=1e-9))


@functools.cache
def margins_add_up() -> bool:
    """Return whether the installed MuJoCo adds the margins of a contact's two geoms instead of taking the maximum."""
    model = mujoco.MjModel.from_xml_string(MARGIN_PROBE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return bool(data.contact[0].includemargin > 1.5)  # the geoms' margins are 1 and 1


@functools.cache
def rotation_step_is_classical() -> bool:
    """Return whether the installed MuJoCo's Runge-Kutta step rotates a tumbling body as :func:`classical_step` does."""
    model = mujoco.MjModel.from_xml_string(ROTATION_PROBE)
    states = []
    for step in (mujoco.mj_step, classical_step):
        data = mujoco.MjData(model)
        data.qvel[3:] = (1.0, 2.0, 3.0)
        step(model, data)
        states.append(data.qpos.copy())
    return np.allclose(states[0], states[1], rtol=0, atol=1e-12)


def classical_step(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Advance ``data`` by one time step of the classical Runge-Kutta method, as MuJoCo <= 2.1.0 did.

    Each rotation is integrated once, from the start of the step, with the weighted mean of the four stages' angular
    velocities. The model must have no actuator states.
    """
    assert model.na == 0
    mujoco.mj_checkPos(model, data)  # these checks reset a diverged state, as mj_step does
    mujoco.mj_checkVel(model, data)
    mujoco.mj_forward(model, data)
    mujoco.mj_checkAcc(model, data)
    time_step, time = model.opt.timestep, data.time
    qpos, qvel = data.qpos.copy(), data.qvel.copy()
    velocities, accelerations = [qvel], [data.qacc.copy()]

    def move(part: float, velocity: np.ndarray, acceleration: np.ndarray) -> None:
        data.qpos[:] = qpos
        mujoco.mj_integratePos(model, data.qpos, velocity, part * time_step)
        data.qvel[:] = qvel + part * time_step * acceleration
        data.time = time + part * time_step

    for part in STAGES:
        move(part, velocities[-1], accelerations[-1])
        mujoco.mj_forward(model, data)
        velocities.append(data.qvel.copy())
        accelerations.append(data.qacc.copy())
    move(1.0, np.dot(WEIGHTS, velocities), np.dot(WEIGHTS, accelerations))


def lengthen_capsules(spec: mujoco.MjSpec) -> None:
    """Replace every capsule in place by a cylinder that extends half a radius further at both ends.

    MuJoCo <= 2.1.0 gave a capsule the mass and inertia of that cylinder. For radius r and half-length h the length is
    L = 2 h + r, the mass m = rho pi r^2 L, the transverse inertia m (3 r^2 + L^2) / 12, the axial inertia m r^2 / 2.
    """
    for geom in spec.geoms:
        if geom.type != mujoco.mjtGeom.mjGEOM_CAPSULE:
            continue
        geom.type = mujoco.mjtGeom.mjGEOM_CYLINDER
        half_radius = geom.size[0] / 2
        if np.isnan(geom.fromto[0]):  # defined by its half-length
            geom.size = [geom.size[0], geom.size[1] + half_radius, 0.0]
        else:  # defined by the two ends of its axis
            start, end = geom.fromto[:3], geom.fromto[3:]
            extension = half_radius * (end - start) / np.linalg.norm(end - start)
            geom.fromto = np.concatenate([start - extension, end + extension])


def cylinder_model(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile ``spec`` with lengthened cylinders in place of capsules.

    The compiler combines the geoms of one body by the parallel-axis theorem. The attribute ``settotalmass`` is removed
    from ``spec``, because the inertias that :func:`set_inertias` copies to it are already rescaled.
    """
    total_mass = spec.compiler.settotalmass
    spec.compiler.settotalmass = -1.0
    cylinders = spec.copy()
    lengthen_capsules(cylinders)
    model = cylinders.compile()
    if total_mass > 0:
        mujoco.mj_setTotalmass(model, total_mass)
    return model


def set_inertias(spec: mujoco.MjSpec, source: mujoco.MjModel) -> None:
    """Copy masses and inertias in place from ``source``, a model compiled from the same bodies."""
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE
    for index, body in enumerate(spec.bodies):
        if index == 0:  # the world
            continue
        body.explicitinertial = True
        body.mass = source.body_mass[index]
        body.inertia = source.body_inertia[index]
        body.ipos = source.body_ipos[index]
        body.iquat = source.body_iquat[index]


def halve_margins(spec: mujoco.MjSpec) -> None:
    """Halve the geoms' margins in place, so that the sum of two equals the original maximum.

    Raises:
        ValueError: if the geoms' margins differ; no scaling restores the maximum then.
    """
    if len({geom.margin for geom in spec.geoms}) > 1:
        raise ValueError("The v2 contact margin can be restored only if all geoms have the same margin.")
    for geom in spec.geoms:
        geom.margin /= 2


def v2_model(path: str) -> mujoco.MjModel:
    """Compile the MJCF file at ``path`` into the model that MuJoCo 2.1.0 compiles from it."""
    spec = mujoco.MjSpec.from_file(path)
    if capsule_is_exact():
        set_inertias(spec, cylinder_model(spec))
    if margins_add_up():
        halve_margins(spec)
    return spec.compile()


class V2Dynamics(MujocoEnv):
    """Mixin for a ``-v4`` environment: compile the v2 model, and clip actions before their cost is computed."""

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = v2_model(self.fullpath)
        view = model.vis.global_
        view.offwidth, view.offheight = max(view.offwidth, self.width), max(view.offheight, self.height)
        return model, mujoco.MjData(model)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Clip ``action`` to the action space, as D4RL's ``NormalizedBoxEnv`` does, and take one step."""
        space = self.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        return super().step(np.clip(np.asarray(action, np.float64), space.low, space.high))


class HopperV2(V2Dynamics, HopperEnv):
    """Gymnasium's Hopper-v4 with the dynamics of gym's Hopper-v2."""


class HalfCheetahV2(V2Dynamics, HalfCheetahEnv):
    """Gymnasium's HalfCheetah-v4 with the dynamics of gym's HalfCheetah-v2."""


class Walker2dV2(V2Dynamics, Walker2dEnv):
    """Gymnasium's Walker2d-v4 with the dynamics of gym's Walker2d-v2."""


class AntV2(V2Dynamics, AntEnv):
    """Gymnasium's Ant-v4 with the dynamics of gym's Ant-v2; the only one of these robots with a free joint."""

    def _step_mujoco_simulation(self, ctrl: np.ndarray, n_frames: int) -> None:
        if rotation_step_is_classical():
            return super()._step_mujoco_simulation(ctrl, n_frames)
        self.data.ctrl[:] = ctrl
        for _ in range(n_frames):
            classical_step(self.model, self.data)
        mujoco.mj_rnePostConstraint(self.model, self.data)
        return None
