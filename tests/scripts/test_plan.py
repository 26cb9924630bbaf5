"""The planning command: what its results say, what it needs, and what it refuses while the disk stays as it was."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from tests.editing import edited
from trajectory_adacat.checkpoint import find_checkpoint, load_model, read_training
from trajectory_adacat.environments import EnvironmentSource
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.planned import Discounting, PlannedReturn
from trajectory_adacat.evaluation.results import load_results
from trajectory_adacat.evaluation.rollout import EpisodeResult
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.recording import load_recording
from trajectory_adacat.scripts import plan, plan_setting, train

Write = Callable[..., Path]
RunTrain = Callable[..., Path]
Plan = Callable[..., list[dict[str, Any]]]
LINE = "TrajectoryAdacatTests/Line-v0"
STUBBY = "TrajectoryAdacatTests/Stubby-v0"
FAR = "TrajectoryAdacatTests/Far-v0"
ENDLESS = "TrajectoryAdacatTests/Endless-v0"
FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format1"


class Line(gymnasium.Env[np.ndarray, np.ndarray]):
    """Three numbers pushed by two; ends as soon as the first one is beyond a bound."""

    def __init__(self, bound: float = 1e9, start: float = 0.0, faulty_seed: int | None = None) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._bound, self._start, self._faulty_seed = bound, start, faulty_seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._faulty = seed is not None and seed == self._faulty_seed
        self._place = self._start + self.np_random.normal(size=self.observation_space.shape)
        return self._place, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self._place = 0.9 * self._place
        self._place[:2] += action
        if self._faulty:
            raise RuntimeError("the line is cut")
        return self._place, float(self._place[0]), bool(abs(self._place[0]) > self._bound), False, {}


@pytest.fixture(autouse=True)
def environments() -> Iterator[None]:
    gymnasium.register(LINE, entry_point=lambda **options: Line(**options), max_episode_steps=6)
    gymnasium.register(ENDLESS, entry_point=lambda **options: Line(**options))
    gymnasium.register(STUBBY, entry_point=lambda **_: Line(bound=0.0), max_episode_steps=6)
    gymnasium.register(FAR, entry_point=lambda **_: Line(start=100.0), max_episode_steps=6)
    yield
    for name in (LINE, STUBBY, FAR, ENDLESS):
        del gymnasium.registry[name]


def flags(**changes: Any) -> list[str]:
    merged = {
        "dataset": "own",
        "environment": LINE,
        "horizon": 2,
        "beam_width": 2,
        "max_context_transitions": 3,
        "n_rollouts": 2,
        "verbose": "false",
        **changes,
    }
    return [text for name, value in merged.items() if value is not None for text in (f"--{name}", str(value))]


def results(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    return sorted(found, key=lambda result: result["rollout_seed"])


@pytest.fixture
def run_plan(home: Path) -> Plan:
    def run(**changes: Any) -> list[dict[str, Any]]:
        plan.main(flags(**{"exp_name": "plans", **changes}))
        dataset = str(changes.get("dataset", "own"))
        return results(home / "logs" / dataset / str(changes.get("exp_name", "plans")))

    return run


@pytest.fixture
def trained(trained_once: Path, home: Path) -> Path:
    """A trained model's folder; its dataset is gone."""
    shutil.copytree(trained_once, home / "logs")
    return home / "logs" / "own" / "gpt" / "adacat_0"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_rollout_leaves_a_result_that_says_what_it_depends_on(trained: Path, run_plan: Plan) -> None:
    found = run_plan(seed=5)
    assert [result["rollout_seed"] for result in found] == [5, 6]
    for result in found:
        assert result["dataset"] == "own"
        assert result["parameterization"] == "adacat"
        assert result["train_seed"] == 0
        assert result["normalized_score"] is None
        assert (result["length"], result["terminated"], result["truncated"]) == (6, False, True)
        assert result["checkpoint"]["hash"] == load_model(trained).hash
        assert result["environment"]["environment"] == LINE
        assert result["environment"]["dynamics"] == "native"
        assert result["planner"]["search"]["horizon"] == 2
        assert result["planner"]["search"]["discount"] == 0.9  # the one of the model's values
        assert result["seconds_per_action"] > 0
        assert result["data_status"] == "unverified"
        assert {"torch", "mujoco", "gymnasium"} <= result["versions"].keys()
        assert "git_revision" in result


def test_watching_shows_a_bar_for_each_rollout_in_a_terminal(trained: Path, run_plan: Plan, terminal: Any) -> None:
    with terminal:
        found = run_plan(watch="true", verbose="true", seed=5)
    text = terminal.text
    for result in found:
        assert f"seed {result['rollout_seed']}: 100%" in text
        assert f"return {result['return']:.5g}, planned " in text
    assert "plan:" not in text


def test_watching_has_no_effect_outside_a_terminal(
    trained: Path, run_plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    run_plan(watch="true", verbose="true", seed=5)
    shown = capsys.readouterr()
    assert "seed 5: 100%" not in shown.err + shown.out
    assert "planned" not in shown.err
    assert "plan: 100%" in shown.err


def test_results_can_be_read_back(trained: Path, run_plan: Plan, home: Path) -> None:
    run_plan()
    found = load_results([home / "logs" / "own" / "plans"]).values()
    assert [result.checkpoint["step"] for result in found] == [6, 6]
    description = json.loads((trained / "step_00000006" / "checkpoint.json").read_text())
    assert all(result.data_sha256 == description["dataset"]["sha256"] for result in found)
    assert {result.data_label for result in found} == {description["dataset"]["label"]}


def test_returns_are_those_of_the_environment_and_depend_on_the_seed(trained: Path, run_plan: Plan) -> None:
    first, again, other = (run_plan(seed=seed, exp_name=name) for seed, name in ((0, "a"), (0, "b"), (7, "c")))
    assert [result["return"] for result in first] == [result["return"] for result in again]
    assert len({result["return"] for result in first + other}) == 4


def test_an_episode_that_ends_is_terminated(trained: Path, run_plan: Plan) -> None:
    for result in run_plan(environment=STUBBY):
        assert (result["length"], result["terminated"], result["truncated"]) == (1, True, False)


def test_an_episode_may_be_cut_earlier(trained: Path, run_plan: Plan) -> None:
    for result in run_plan(max_episode_length=2):
        assert (result["length"], result["terminated"], result["truncated"]) == (2, False, True)


@pytest.mark.parametrize("parameterization", ["uniform", "quantile"])
def test_the_baselines_plan_with_their_own_settings(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan, parameterization: str
) -> None:
    run_train(write_dataset(9, 8, 7, 6), parameterization=parameterization)
    found = run_plan(gpt_loadpath=f"gpt/{parameterization}_0", preset="table4")[0]
    assert found["parameterization"] == parameterization
    assert found["planner"]["search"]["sampling"] == "midpoint"
    assert found["planner"]["search"]["cdf_act"] == 0.6
    assert found["planner"]["search"]["drop_act"] == 0.0


def test_a_mixture_of_logistic_distributions_plans_without_cutoffs_by_bin(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan
) -> None:
    run_train(write_dataset(9, 8, 7, 6), parameterization="logistic_mixture")
    found = run_plan(gpt_loadpath="gpt/logistic_mixture_0")[0]
    assert found["parameterization"] == "logistic_mixture"
    assert found["planner"]["search"]["k_obs"] is None
    run_plan(gpt_loadpath="gpt/logistic_mixture_0", sampling="mean", exp_name="mean")
    with pytest.raises(InputError, match="--k_act 2, --sampling midpoint: logistic_mixture outputs have no bins"):
        run_plan(gpt_loadpath="gpt/logistic_mixture_0", k_act=2, sampling="midpoint", exp_name="cut")


def test_observation_cutoffs_have_no_effect_where_none_is_imagined(trained: Path, run_plan: Plan) -> None:
    with pytest.raises(InputError, match="--k_obs has no effect with --horizon 1"):
        run_plan(horizon=1, k_obs=2)


def test_the_checkpoint_and_its_average_can_be_chosen(trained: Path, run_plan: Plan) -> None:
    chosen: list[dict[str, Any]] = [
        {},
        {"use_ema": "true"},
        {"gpt_epoch": 3},
        {"gpt_epoch": 6},
        {"gpt_loadpath": trained},
        {"gpt_loadpath": trained / "step_00000003"},
    ]
    found = [run_plan(preset="table4", exp_name=f"plans_{i}", **changes)[0] for i, changes in enumerate(chosen)]
    assert [result["checkpoint"]["step"] for result in found] == [6, 6, 3, 6, 6, 3]
    assert len({result["checkpoint"]["hash"] for result in found}) == 2
    assert found[0]["return"] == found[3]["return"] == found[4]["return"] != found[1]["return"]


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_freq": 2},
        {"prefix_context": "false"},
        {"window": "full"},
        {"percentile": "90"},
        {"sampling": "mean"},
        {"k_obs": "none", "cdf_obs": 0.5, "drop_obs": 0.5, "drop_act": 0.6},
        {"horizon": 7},
        {"horizon": 1, "max_context_transitions": 1},
        {"vis_freq": 1, "verbose": "true"},
    ],
    ids=str,
)
def test_settings_of_every_kind_work(trained: Path, run_plan: Plan, changes: dict[str, Any]) -> None:
    assert all(np.isfinite(result["return"]) for result in run_plan(**changes))


def test_a_profile_of_a_plan_can_be_had(
    trained: Path, run_plan: Plan, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_plan(profile="true", n_rollouts=1, verbose="true")
    folder = home / "logs" / "own" / "plans" / "profile"
    assert "1 step after 2" in (folder / "profile.txt").read_text()
    assert (folder / "trace.json").exists()
    assert str(Path("logs", "own", "plans", "profile")) in capsys.readouterr().out
    assert "profile" not in found[0]["planner"]


@pytest.mark.parametrize("changes", [{"verbose": "false"}, {"verbose": "true", "max_episode_length": 2}], ids=str)
def test_a_profile_is_announced_only_when_written_and_wanted(
    trained: Path, run_plan: Plan, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    run_plan(profile="true", n_rollouts=1, **changes)
    assert "profile" not in capsys.readouterr().out


@pytest.mark.slow
def test_one_process_loads_the_model_once_and_several_leave_it_to_them(
    trained: Path, run_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    create = GPT.__init__

    def count(model: GPT, config: GPTConfig) -> None:
        made.append(model)
        create(model, config)

    monkeypatch.setattr(GPT, "__init__", count)
    run_plan()
    assert len(made) == 2  # an outline without memory, by which shapes are compared, and the model
    with pytest.raises(InputError, match=LINE):  # known to this process alone
        run_plan(processes=2, exp_name="shared")
    assert len(made) == 2


def test_values_outside_the_training_bounds_are_counted(
    trained: Path, run_plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    low, high = (getattr(load_model(trained).normalizer, name)[:3] for name in ("low", "high"))
    run_plan(verbose="true", environment=FAR, max_episode_length=2)
    assert (low > -50).all()
    assert (high < 50).all()
    # Three numbers and the reward, over two steps of two episodes.
    assert "clamped 16 values" in capsys.readouterr().out


def test_constant_dimensions_work_to_the_end(write_dataset: Write, run_train: RunTrain, run_plan: Plan) -> None:
    run_train(write_dataset(9, 8, 7, 6, constant=True))
    assert len(run_plan()) == 2


def test_a_robot_of_an_official_name_has_its_dynamics_and_score(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan
) -> None:
    path = write_dataset(9, 8, 7, 6, sizes=(11, 3))
    run_train(path, dataset="hopper-medium-v2", preset="demo")
    found = run_plan(dataset="hopper-medium-v2", environment=None, max_episode_length=3, preset="demo")[0]
    assert found["environment"]["dynamics"] == "v2"
    assert found["data_status"] == "unverified"
    assert found["normalized_score"] == pytest.approx(100 * (found["return"] + 20.272305) / (3234.3 + 20.272305))


def train_hopper(write_dataset: Write, run_train: RunTrain, dataset: str = "hopper-medium-v2", **changes: Any) -> Path:
    """Train on a file under a robot's name."""
    return run_train(write_dataset(9, 8, 7, 6, sizes=(11, 3)), dataset=dataset, preset="demo", **changes)


@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        ({"environment": "trajectory_adacat.environments:trajectory_adacat/Hopper-v2"}, True),
        ({"environment": "Hopper-v4"}, True),
        ({"environment": "Hopper-v5"}, False),
        ({"environment": "Hopper-v4", "env_kwargs": '{"forward_reward_weight": 1000}'}, False),
        ({"env_kwargs": '{"max_episode_steps": 2}'}, False),
    ],
    ids=str,
)
def test_a_score_needs_the_robot_and_the_rewards_of_the_references(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan, changes: dict[str, Any], scored: bool
) -> None:
    train_hopper(write_dataset, run_train)
    common = {"dataset": "hopper-medium-v2", "environment": None, "max_episode_length": 3, "preset": "demo"}
    for result in run_plan(**{**common, **changes}):
        assert (result["normalized_score"] is not None) == scored
        if "environment" in changes:
            assert result["environment"]["environment"] == changes["environment"].rpartition(":")[2]


def test_another_robot_of_the_same_sizes_has_no_score(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan
) -> None:
    run_train(write_dataset(9, 8, 7, 6, sizes=(17, 6)), dataset="halfcheetah-medium-v2", preset="demo")
    common = {"dataset": "halfcheetah-medium-v2", "max_episode_length": 2, "preset": "demo", "n_rollouts": 1}
    (result,) = run_plan(**common, environment="walker2d-medium-collected")
    assert result["normalized_score"] is None
    assert result["environment"]["environment"] == "trajectory_adacat/Walker2d-v2"


def test_an_own_environment_under_a_robots_id_has_no_score(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_train(write_dataset(9, 8, 7, 6), dataset="own")
    with edited(Path("logs/own/gpt/adacat_0/step_00000006")) as description:
        description["dataset"] |= {"name": "hopper-medium-v2", "environment": "hopper-medium-v2"}
    spec = gymnasium.envs.registration.EnvSpec(
        "trajectory_adacat/Hopper-v2", lambda **_: Line(), max_episode_steps=1000
    )
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    common = {"gpt_loadpath": "logs/own/gpt/adacat_0", "preset": "demo", "max_episode_length": 2}
    for result in run_plan(dataset="hopper-medium-v2", environment=None, **common):
        assert result["normalized_score"] is None


@pytest.mark.parametrize(
    ("environment", "asked", "limit"),
    [(LINE, None, 6), (LINE, 4, 4), (LINE, 3000, 6), (ENDLESS, 7, 7)],
)
def test_the_environments_own_time_limit_holds(
    trained: Path, run_plan: Plan, environment: str, asked: int | None, limit: int
) -> None:
    for result in run_plan(
        environment=environment, max_episode_length=asked, n_rollouts=1, horizon=1, beam_width=1, n_expand=1
    ):
        assert (result["length"], result["truncated"]) == (limit, True)
        assert result["planner"]["max_episode_length"] == limit


@pytest.mark.parametrize(("asked", "limit"), [(None, 1000), (3000, 3000)])
def test_an_environment_without_a_limit_is_cut_at_1000_unless_told_otherwise(asked: int | None, limit: int) -> None:
    assert plan_setting.episode_limit(EnvironmentSource(ENDLESS).make, asked) == limit


def test_a_robot_is_cut_after_1000_steps_by_default(write_dataset: Write, run_train: RunTrain, run_plan: Plan) -> None:
    train_hopper(write_dataset, run_train)
    (result,) = run_plan(dataset="hopper-medium-v2", environment=None, preset="demo", n_rollouts=1)
    assert result["planner"]["max_episode_length"] == 1000


def test_a_failed_rollout_is_recorded_apart_and_the_others_go_on(
    trained: Path, run_plan: Plan, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home / "logs" / "own" / "plans"
    expected = {result["rollout_seed"]: result["return"] for result in run_plan(n_rollouts=3, exp_name="sound")}
    for _ in range(2):  # the second time replaces the record
        with pytest.raises(InputError, match=r"failed in 1 of 3 rollouts \(seeds 1\).*failures.jsonl"):
            run_plan(n_rollouts=3, env_kwargs='{"faulty_seed": 1}')
    assert {result["rollout_seed"]: result["return"] for result in results(folder)} == {
        seed: expected[seed] for seed in (0, 2)
    }
    (failure,) = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert failure["environment"]["environment"] == LINE
    assert (failure["rollout_seed"], failure["step"]) == (1, 1)
    assert "RuntimeError: the line is cut" in failure["error"]
    assert f"{LINE}, seed 1, failed at step 1: RuntimeError: the line is cut" in capsys.readouterr().err
    assert len(load_results([folder])) == 2
    assert len(run_plan(n_rollouts=3)) == 5  # in another environment, so the results above stay
    assert len(run_plan(n_rollouts=3, overwrite=True)) == 3
    assert not (folder / "failures.jsonl").exists()


def test_training_stores_the_environment_and_its_arguments(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan
) -> None:
    run_train(write_dataset(9, 8, 7, 6), environment=LINE, env_kwargs='{"start": 50.0}', n_saves=1, n_steps=2)
    stored = run_plan(environment=None)[0]["environment"]
    assert (stored["environment"], stored["env_kwargs"]) == (LINE, {"start": 50.0})
    assert run_plan(environment=None, env_kwargs='{"start": 1.0}', exp_name="a")[0]["environment"]["env_kwargs"] == {
        "start": 1.0
    }
    assert "env_kwargs" not in run_plan(environment=ENDLESS, max_episode_length=2, exp_name="b")[0]["environment"]


def test_a_resumed_training_keeps_the_environment(write_dataset: Write, run_train: RunTrain, run_plan: Plan) -> None:
    path = write_dataset(9, 8, 7, 6)
    run_train(path, environment=LINE, env_kwargs='{"start": 50.0}', n_saves=1, n_steps=2)
    run_train(path, n_saves=1, n_steps=4, resume=True)
    (first, _) = run_plan(environment=None)
    assert first["checkpoint"]["step"] == 4
    assert (first["environment"]["environment"], first["environment"]["env_kwargs"]) == (LINE, {"start": 50.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environment": "Lane-v0"}, "Unknown environment 'Lane-v0'"),
        ({"environment": "Pendulum-v1"}, r"dataset's actions have 2 dimensions.*\(1,\)"),
        ({"environment": LINE, "env_kwargs": '{"wind": 3}'}, 'with --env_kwargs {"wind": 3}: TypeError'),
        ({"environment": LINE, "env_kwargs": "start=3"}, "--env_kwargs start=3 is not JSON"),
        ({"env_kwargs": "{}"}, "--env_kwargs needs an --environment"),
    ],
    ids=str,
)
def test_an_environment_is_checked_before_training(
    write_dataset: Write, run_train: RunTrain, home: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_dataset(9, 8, 7, 6)
    with pytest.raises(InputError, match=message):
        run_train(path, **changes)
    assert not list(home.iterdir())


MINARI = "minari:test/pendulum/line-v0"


@pytest.mark.filterwarnings("ignore::UserWarning:minari")
@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        ({}, True),
        ({"environment": MINARI}, True),
        ({"environment": "Pendulum-v1"}, False),
        ({"env_kwargs": '{"g": 1.0}'}, False),
    ],
    ids=str,
)
def test_minaris_own_references_score_its_own_environment_without_the_dataset(
    make_flags: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    scored: bool,
) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    generator = np.random.default_rng(0)
    buffer = minari.data_collector.EpisodeBuffer(
        observations=list(generator.normal(size=(10, 3)).astype(np.float32)),
        actions=list(generator.uniform(-1, 1, (9, 1)).astype(np.float32)),
        rewards=list(generator.normal(size=9)),
        terminations=[False] * 9,
        truncations=[False] * 8 + [True],
    )
    minari.create_dataset_from_buffers(
        MINARI.removeprefix("minari:"),
        [buffer] * 3,
        gymnasium.make("Pendulum-v1", max_episode_steps=9),
        ref_min_score=-100.0,
        ref_max_score=-50.0,
    )
    train.main(make_flags(Path(), MINARI, dataset_path=None, holdout_fraction=0))
    shutil.rmtree(tmp_path / "minari")
    common = {"dataset": MINARI, "environment": None, "n_rollouts": 1}
    plan.main(flags(exp_name="plans", **{**common, **changes}))
    (path,) = Path("logs").rglob("rollouts.jsonl")
    (result,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert result["environment"]["environment"] == "Pendulum-v1"
    assert result["normalized_score"] == (pytest.approx(2 * (result["return"] + 100)) if scored else None)
    assert result["length"] == (200 if changes.get("environment") == "Pendulum-v1" else 9)
    assert result["environment"].get("reference_returns") == ([-100.0, -50.0] if scored else None)


@pytest.mark.slow
def test_processes_share_the_rollouts_and_change_no_result(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan
) -> None:
    run_train(write_dataset(9, 8, 7, 6, sizes=(11, 3)), dataset="hopper-medium-v2", preset="demo")
    common = {"dataset": "hopper-medium-v2", "environment": None, "max_episode_length": 3, "n_rollouts": 3}
    alone = run_plan(**common, preset="demo")
    shared = run_plan(**common, preset="demo", processes=2)  # of the same settings: nothing is to be overwritten
    for result in (*alone, *shared):
        del result["seconds_per_action"]
    assert shared == alone


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_rollouts": 0}, "--n_rollouts"),
        ({"max_episode_length": 0}, "--max_episode_length"),
        ({"vis_freq": 0}, "--vis_freq"),
        ({"processes": 0}, "--processes"),
        ({"threads": -1}, "--threads"),
        ({"seed": -1}, "--seed"),
        ({"horizon": 0}, "horizon"),
        ({"beam_width": -2}, "beam_width"),
        ({"n_expand": 0}, "n_expand"),
        ({"k_act": 0}, "k_act"),
        ({"cdf_act": 1.0}, "cdf_act"),
        ({"drop_obs": -0.1}, "drop_obs"),
        ({"discount": 1.5}, "discount"),
        ({"percentile": "most"}, "--percentile"),
        ({"percentile": "101"}, "percentile"),
        ({"plan_freq": 0}, "plan_freq"),
        ({"plan_freq": 3}, "plan_freq"),
        ({"max_context_transitions": 0}, "max_context_transitions"),
        ({"window": "cropped", "max_context_transitions": 1}, "max_context_transitions"),
        ({"max_context_transitions": 4}, "max_context_transitions 4 exceeds the 3"),
        ({"sampling": "median"}, "sampling"),
        ({"window": "sliding"}, "window"),
        ({"device": "gpu"}, "--device"),
        ({"environment": "Lane-v0"}, "Lane-v0"),
        ({"environment": "CartPole-v1"}, "observations"),
        ({"environment": None}, "--environment"),
        ({"dynamics": "v2"}, "v2"),
        ({"dynamics": "v3"}, "dynamics"),
        ({"gpt_loadpath": "gpt/nothing"}, "gpt/nothing"),
        ({"gpt_epoch": "5"}, "step '5'"),
        ({"gpt_epoch": "last"}, "last"),
        ({"dataset": "hopper-medium-v2", "gpt_loadpath": "logs/own/gpt/adacat_0"}, "trained on own"),
        ({"horizn": 2}, "--horizon"),
        ({"horizon": "two"}, "horizon"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_its_flag_and_nothing_is_written(
    trained: Path, run_plan: Plan, home: Path, changes: dict[str, Any], message: str
) -> None:
    before = contents(home)
    with pytest.raises(InputError, match=message):
        run_plan(**changes)
    assert contents(home) == before


def test_a_model_of_single_transitions_cannot_look_further(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan
) -> None:
    run_train(write_dataset(9, 8, 7, 6), subsampled_sequence_length=1)
    for length, message in ((1, "single transitions"), (2, "max_context_transitions")):
        with pytest.raises(InputError, match=message):
            run_plan(max_context_transitions=length)
    assert len(run_plan(horizon=1, max_context_transitions=1)) == 2


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "normalizer.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_is_refused_by_its_file(
    trained: Path, run_plan: Plan, home: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(trained / "step_00000006" / name)
    before = contents(home)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        run_plan(preset="table4")
    assert contents(home) == before
    shutil.rmtree(trained / "step_00000006")
    assert len(run_plan(preset="table4")) == 2


@pytest.mark.parametrize("key", ["dataset", "parameterization", "discount", "train_seed", "step"])
def test_a_checkpoint_that_does_not_say_what_planning_needs_is_refused(trained: Path, run_plan: Plan, key: str) -> None:
    with edited(trained / "step_00000006") as description:
        del description[key]
    with pytest.raises(InputError, match=key):
        run_plan()


def test_sizes_of_another_environment_are_refused(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan, home: Path
) -> None:
    run_train(write_dataset(9, 8, 7, 6, sizes=(4, 2)))
    before = contents(home)
    with pytest.raises(InputError, match=r"4 dimensions.*--environment"):
        run_plan()
    assert contents(home) == before


def test_results_of_other_settings_are_not_replaced_unasked(trained: Path, run_plan: Plan, home: Path) -> None:
    run_plan(n_rollouts=2)
    run_plan(n_rollouts=1)  # the same settings again
    before = contents(home / "logs")
    with pytest.raises(InputError, match="--overwrite"):
        run_plan(horizon=1, n_rollouts=1)
    assert contents(home / "logs") == before
    found = run_plan(horizon=1, n_rollouts=1, overwrite="true")
    assert [result["planner"]["search"]["horizon"] for result in found] == [1]


def test_a_checkpoint_of_another_step_than_asked_is_refused(trained: Path, run_plan: Plan) -> None:
    with pytest.raises(InputError, match="not that of step '6'"):
        run_plan(gpt_loadpath=trained / "step_00000003", gpt_epoch=6)


def test_the_model_is_compiled_when_asked(trained: Path, run_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def count(model: GPT) -> GPT:
        compiled.append(model)
        return model

    monkeypatch.setattr(GPT, "compile_decoding", count)
    run_plan()
    assert not compiled
    run_plan(compile=True, exp_name="compiled")
    assert len(compiled) == 1


def test_episodes_that_ended_are_kept_when_others_are_interrupted(
    trained: Path, run_plan: Plan, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def step(self: Line, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return np.zeros(3), 1.0, len(steps) == 1, False, {}  # the first robot's first step is its last

    monkeypatch.setattr(Line, "step", step)
    with pytest.raises(KeyboardInterrupt):
        run_plan()
    (kept,) = results(home / "logs" / "own" / "plans")
    assert (kept["rollout_seed"], kept["return"], kept["terminated"]) == (0, 1.0, True)


def test_torchrun_is_refused(trained: Path, run_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--processes"):
        run_plan()


def test_the_planned_return_is_stored_and_printed(
    trained: Path, run_plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_plan(verbose=True, environment=STUBBY)[0]
    assert result["planned_return"] is not None
    assert result["realized_return"] is not None
    out = capsys.readouterr().out
    assert f"planned {result['planned_return']:.5g}, realized {result['realized_return']:.5g}" in out


@pytest.mark.parametrize(("planned", "warned"), [(2.2, False), (2.4, True)])
def test_plans_that_promise_too_much_are_warned_of(
    capsys: pytest.CaptureFixture[str], planned: float, warned: bool
) -> None:
    plan.print_ratio([EpisodeResult(0, planned=PlannedReturn(planned, 2.0)), EpisodeResult(1)], verbose=True)
    printed = capsys.readouterr()
    assert f"{planned / 2:.3f}, the mean of 1 rollouts" in printed.out
    assert ("--beam_width" in printed.err) == warned
    plan.print_ratio([EpisodeResult(0, planned=PlannedReturn(planned, 2.0))], verbose=False)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("--beam_width" in printed.err) == warned


def test_returns_are_discounted_as_in_the_training_of_the_checkpoint(trained: Path) -> None:
    description = read_training(find_checkpoint(trained))
    data = description["training"]["data"]
    data["termination_penalty"] = -7.0
    assert plan_setting.trained_discounting(description, data["discount"]) == Discounting(data["discount"], -7.0)
    assert plan_setting.trained_discounting(description, 0.5) is None  # the scores would mix two discounts
    data["termination_penalty"] = None
    assert plan_setting.trained_discounting(description, data["discount"]) == Discounting(data["discount"], None)


@pytest.mark.parametrize("name", ["adacat", "quantile"])
def test_returns_are_discounted_as_in_the_training_of_an_old_checkpoint(name: str) -> None:
    description = read_training(FORMAT_1 / name)
    assert plan_setting.trained_discounting(description, 0.99) == Discounting(0.99, -100.0)


def test_a_checkpoint_that_does_not_say_its_penalty_is_refused(trained: Path, run_plan: Plan) -> None:
    with edited(trained / "step_00000006") as description:
        del description["training"]["data"]["termination_penalty"]
    with pytest.raises(InputError, match="does not say the 'termination_penalty'"):
        run_plan()


def test_the_realized_return_has_the_penalty_of_the_training(
    write_dataset: Write, run_train: RunTrain, run_plan: Plan
) -> None:
    run_train(write_dataset(9, 8, 7, 6), termination_penalty=-7)
    (result,) = run_plan(environment=STUBBY, n_rollouts=1)
    assert result["realized_return"] == -7.0
    assert result["return"] != -7.0


def test_nothing_is_compared_with_another_discount_than_the_trained_one(trained: Path, run_plan: Plan) -> None:
    (result,) = run_plan(environment=STUBBY, discount=0.8, n_rollouts=1)
    assert (result["planned_return"], result["realized_return"]) == (None, None)


# recordings


def test_recording_changes_no_result_and_says_what_it_depends_on(trained: Path, home: Path, run_plan: Plan) -> None:
    plain = run_plan(exp_name="plain")
    plan.main([*flags(exp_name="recorded", record_every=2), "--record"])
    recorded = results(home / "logs" / "own" / "recorded")
    assert [result["return"] for result in recorded] == [result["return"] for result in plain]
    folder = home / "logs" / "own" / "recorded" / "recordings"
    assert sorted(path.name for path in folder.iterdir()) == ["rollout_0.npz", "rollout_1.npz"]
    recording = load_recording(folder / "rollout_1.npz")
    assert recording.steps.tolist() == [0, 2, 4]
    assert recording.description["checkpoint"] == plain[1]["checkpoint"]["hash"]
    assert recording.description["planner"] == plain[1]["planner"]
    assert recording.description["result"]["return"] == plain[1]["return"]
    assert recording.description["command"].endswith("--record")


@pytest.mark.slow
def test_worker_processes_record_the_chosen_rollouts(write_dataset: Write, run_train: RunTrain, home: Path) -> None:
    name = "hopper-medium-v2"  # worker processes do not know the environments of these tests
    run_train(write_dataset(9, 8, 7, 6, sizes=(11, 3)), dataset=name, preset="demo")
    few = {"dataset": name, "environment": None, "preset": "demo", "max_episode_length": 3, "n_rollouts": 3}
    plan.main([*flags(exp_name="recorded", processes=2, **few), "--record", "1", "2"])
    folder = home / "logs" / name / "recorded" / "recordings"
    assert sorted(path.name for path in folder.iterdir()) == ["rollout_1.npz", "rollout_2.npz"]


def test_frames_of_an_environment_without_mujoco_are_left_out_with_a_warning(trained: Path, home: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    with pytest.warns(UserWarning, match="not one of MuJoCo's"):
        plan.main([*flags(exp_name="recorded", n_rollouts=1), "--record", "--frames"])
    recording = load_recording(home / "logs" / "own" / "recorded" / "recordings" / "rollout_0.npz")
    assert not recording.video.size
    assert "not one of MuJoCo's" in recording.description["video"]["missing"]


def test_flags_of_recordings_that_have_no_effect_are_refused(trained: Path, home: Path) -> None:
    with pytest.raises(InputError, match="--record_every has no effect without --record"):
        plan.main(flags(record_every=2))
    with pytest.raises(InputError, match="--record 7 is no rollout seed here: they are 0 to 1"):
        plan.main([*flags(), "--record", "7"])
    assert not (home / "logs" / "own" / "plans").exists()
