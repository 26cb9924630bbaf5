"""V2 dynamics compared with recordings of gym 0.23.1 ``-v2`` on MuJoCo 2.1.0."""

from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

from trajectory_adacat import dynamics
from trajectory_adacat.environments import Dynamics, make_environment
from trajectory_adacat.robots import ROBOTS as RECORDS

FIXTURES = Path(__file__).parent / "fixtures"
RECORDINGS = {
    **np.load(FIXTURES / "gym_v2_mujoco210.npz"),
    **np.load(FIXTURES / "gym_v2_mujoco210_ant.npz"),
}
ROBOTS = ("Hopper", "HalfCheetah", "Walker2d", "Ant")
EPISODES = [key.removesuffix("_A") for key in RECORDINGS if key.endswith("_A")]
CHAOTIC = ("HalfCheetah", "Ant")  # rounding errors grow too fast to compare whole episodes
ANT_OBSERVATION_SIZE = 27  # of the 111 numbers in gym's -v2; the others are zero
TOLERANCE = 1e-9
CAPSULE_RADIUS, CAPSULE_HALF_LENGTH, DENSITY = 0.3, 0.7, 1234.0


def unwrapped(name: str, dynamics: Dynamics | None = None) -> MujocoEnv:
    env = make_environment(name, dynamics).unwrapped
    assert isinstance(env, MujocoEnv)
    return env


def corrected(robot: str) -> MujocoEnv:
    return unwrapped(f"{robot.lower()}-medium-v2")


def replay(env: MujocoEnv, episode: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeat a recorded episode from its initial state; return observations, rewards and termination flags."""
    env.reset(seed=0)
    env.set_state(RECORDINGS[f"{episode}_qp"], RECORDINGS[f"{episode}_qv"])
    steps = []
    for action in RECORDINGS[f"{episode}_A"]:
        observation, reward, terminated, _, _ = env.step(action)
        steps.append((observation, reward, terminated))
        if terminated:
            break
    observations, rewards, done = zip(*steps, strict=True)
    return np.array(observations), np.array(rewards), np.array(done)


@pytest.fixture(scope="module")
def robots() -> dict[str, MujocoEnv]:
    return {robot: corrected(robot) for robot in ROBOTS}


def test_every_robot_has_recordings() -> None:
    assert {*ROBOTS} == {key.split("_")[0] for key in RECORDINGS} == {robot.name for robot in RECORDS.values()}


@pytest.mark.parametrize("episode", EPISODES)
def test_ten_steps_match_the_recordings(robots: dict[str, MujocoEnv], episode: str) -> None:
    observations, rewards, _ = replay(robots[episode.split("_")[0]], episode)
    expected = RECORDINGS[f"{episode}_O"][1:11, : observations.shape[1]]
    np.testing.assert_allclose(observations[:10], expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(rewards[:10], RECORDINGS[f"{episode}_R"][:10], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("episode", [episode for episode in EPISODES if not episode.startswith(CHAOTIC)])
def test_episodes_end_at_the_recorded_step(robots: dict[str, MujocoEnv], episode: str) -> None:
    _, _, done = replay(robots[episode.split("_")[0]], episode)
    np.testing.assert_array_equal(done, RECORDINGS[f"{episode}_D"])


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("constant", ["body_mass", "body_inertia", "body_ipos", "body_invweight0", "dof_invweight0"])
def test_model_constants_match_the_recordings(robots: dict[str, MujocoEnv], robot: str, constant: str) -> None:
    compiled = getattr(robots[robot].model, constant)
    np.testing.assert_allclose(compiled, RECORDINGS[f"{robot}_model_{constant}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("robot", ROBOTS)
def test_subtree_masses_sum_to_the_recorded_total(robots: dict[str, MujocoEnv], robot: str) -> None:
    model = robots[robot].model
    np.testing.assert_allclose(model.body_subtreemass[0], RECORDINGS[f"{robot}_model_body_mass"].sum(), rtol=1e-12)


@pytest.mark.parametrize("robot", ROBOTS)
def test_native_dynamics_deviate_from_the_recordings(
    robot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, the installed MuJoCo needs no correction any more."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log
    env = unwrapped(f"{robot.lower()}-medium-v2", "native")
    episode = f"{robot}_random0" if robot == "Ant" else f"{robot}_gait0"
    observations, _, _ = replay(env, episode)
    assert np.abs(observations[9] - RECORDINGS[f"{episode}_O"][10, : observations.shape[1]]).max() > 0.01


def test_the_observations_that_ant_drops_are_zero() -> None:
    recorded = [RECORDINGS[f"{episode}_O"] for episode in EPISODES if episode.startswith("Ant")]
    assert all(not observations[:, ANT_OBSERVATION_SIZE:].any() for observations in recorded)
    assert corrected("Ant").observation_space.shape == (ANT_OBSERVATION_SIZE,)


def test_the_contact_margin_is_the_maximum_of_the_geoms_margins(robots: dict[str, MujocoEnv]) -> None:
    env = robots["Hopper"]
    env.reset(seed=0)
    for _ in range(100):
        env.step(np.zeros(3, np.float32))
        if env.data.ncon:
            break
    margin = RECORDINGS["Hopper_model_geom_margin"].max()
    assert env.data.ncon > 0
    np.testing.assert_allclose(env.data.contact.includemargin, margin, rtol=1e-12)


@pytest.mark.parametrize("robot", ROBOTS)
def test_actions_are_clipped_before_their_cost_is_computed(robot: str) -> None:
    env = corrected(robot)
    beyond = np.linspace(-3, 3, env.model.nu, dtype=np.float32)
    steps = []
    for action in (beyond, np.clip(beyond, -1, 1)):
        env.reset(seed=0)
        steps.append(env.step(action))
    np.testing.assert_array_equal(steps[0][0], steps[1][0])
    assert steps[0][1] == steps[1][1]


@pytest.mark.parametrize(
    "size", [f'size="{CAPSULE_RADIUS} {CAPSULE_HALF_LENGTH}"', f'size="{CAPSULE_RADIUS}" fromto="0 0 -0.7 0 0 0.7"']
)
def test_a_capsule_has_the_inertia_of_a_lengthened_cylinder(tmp_path: Path, size: str) -> None:
    path = tmp_path / "capsule.xml"
    body = f'<body><freejoint/><geom type="capsule" {size} density="{DENSITY}"/></body>'
    path.write_text(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
    model = dynamics.v2_model(str(path))
    length = 2 * CAPSULE_HALF_LENGTH + CAPSULE_RADIUS
    mass = DENSITY * np.pi * CAPSULE_RADIUS**2 * length
    transverse = mass * (3 * CAPSULE_RADIUS**2 + length**2) / 12
    np.testing.assert_allclose(model.body_mass[1], mass, rtol=1e-12)
    np.testing.assert_allclose(
        model.body_inertia[1], [transverse, transverse, mass * CAPSULE_RADIUS**2 / 2], rtol=1e-12
    )
    assert model.geom_type[0] == mujoco.mjtGeom.mjGEOM_CAPSULE


def test_a_correction_that_is_not_needed_is_not_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MuJoCo has the v2 inertias, margins and rotations already, the model is compiled unchanged."""
    monkeypatch.setattr(dynamics, "capsule_is_exact", lambda: False)
    monkeypatch.setattr(dynamics, "margins_add_up", lambda: False)
    monkeypatch.setattr(dynamics, "rotation_step_is_classical", lambda: True)
    path = tmp_path / "capsule.xml"
    path.write_text(dynamics.CAPSULE_PROBE.replace("<geom", '<geom margin="1"'))
    model, shipped = dynamics.v2_model(str(path)), mujoco.MjModel.from_xml_path(str(path))
    np.testing.assert_array_equal(model.body_mass, shipped.body_mass)
    np.testing.assert_array_equal(model.geom_margin, shipped.geom_margin)
    stepped = []
    for env in (corrected("Ant"), unwrapped("Ant-v4")):
        env.reset(seed=0)
        stepped.append(env.step(np.full(8, 0.5))[0])
    np.testing.assert_array_equal(stepped[0], stepped[1])


def tumble(step: Callable[[mujoco.MjModel, mujoco.MjData], None], time_step: float) -> np.ndarray:
    """Return the orientation of a tumbling box after one second, a unit quaternion."""
    xml = dynamics.ROTATION_PROBE.replace('timestep="0.1"', f'timestep="{time_step}"')
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    data.qvel[3:] = (1.0, 2.0, 3.0)
    for _ in range(round(1 / time_step)):
        step(model, data)
    assert data.time == pytest.approx(1.0)
    return data.qpos[3:].copy()


def test_the_classical_step_converges_to_the_same_motion() -> None:
    exact = tumble(mujoco.mj_step, 0.001)
    errors = [np.abs(tumble(dynamics.classical_step, time_step) - exact).max() for time_step in (0.1, 0.05, 0.01)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4


def test_a_diverged_state_is_reset_as_mujoco_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log
    env = corrected("Ant")
    env.reset(seed=0)
    env.data.qvel[:] = 1e12
    env.step(np.zeros(8, np.float32))
    assert np.isfinite(env.data.qpos).all()
    assert np.abs(env.data.qvel).max() < 100


def test_halving_margins_needs_equal_margins() -> None:
    spec = mujoco.MjSpec.from_string(dynamics.MARGIN_PROBE.replace('margin="1"', 'margin="2"', 1))
    with pytest.raises(ValueError, match="same margin"):
        dynamics.halve_margins(spec)
