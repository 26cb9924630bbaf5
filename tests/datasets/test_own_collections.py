"""Datasets of the user's own policies: names, files, and how they are loaded again."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.datasets.sb3_zips import ppo_weights, sac_weights, td3_weights, write_zip
from trajectory_adacat.datasets import load_dataset
from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.collected import collect_policy, collected_path, own_dataset
from trajectory_adacat.datasets.policy_files import read_policy
from trajectory_adacat.datasets.sequences import resolve_penalty
from trajectory_adacat.environments import choose_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.scores import reference_returns
from trajectory_adacat.robots import ROBOTS, find_dataset
from trajectory_adacat.scripts import collect as command


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "agent.zip", sac_weights())


@pytest.mark.parametrize("quality", ["expert", "medium-expert", "full-replay", "tqc-rlzoo"])
def test_an_own_name_has_the_robots_environment_and_references(quality: str) -> None:
    name = f"hopper-{quality}-collected"
    assert own_dataset(f"hopper-{quality}").name == own_dataset(name).name == name
    dataset = find_dataset(name)
    assert dataset is not None
    assert (dataset.robot, dataset.quality, dataset.is_own) == (ROBOTS["hopper"], quality, True)
    assert choose_environment(name) == ("trajectory_adacat/Hopper-v2", "v2")
    assert reference_returns(name) == ROBOTS["hopper"].reference_returns
    assert resolve_penalty("auto", name) == -100


@pytest.mark.parametrize("name", ["hopper-collected", "robot-expert-collected", "hopper--collected", "hopper-expert"])
def test_other_names_are_no_datasets(name: str) -> None:
    assert find_dataset(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hopper-expert-v2", "Leave out the -v2"),
        ("robot-expert", "must be a robot"),
        ("expert", "must be a robot"),
        ("hopper", "must be a robot"),
        ("hopper-Expert", "lower-case"),
        ("hopper-a/b", "lower-case"),
        ("hopper-medium", "Choose another name, such as hopper-own-medium"),
        ("hopper-random-collected", "Choose another name"),
    ],
)
def test_bad_names_are_refused(agent: Path, home: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect_policy(name, agent, transitions=5)
    assert not (home / "cache").exists()


def test_the_dataset_is_loaded_by_its_name(agent: Path) -> None:
    path, notes = collect_policy("hopper-expert", agent, transitions=30, seed=4)
    assert path == collected_path("hopper-expert-collected")
    assert notes == read_policy(agent).notes
    dataset = load_dataset("hopper-expert-collected")
    assert (dataset.label, dataset.verified, dataset.file) == ("hopper-expert-collected", True, path)
    assert sum(map(len, dataset.episodes)) == 30
    expected = {
        "dataset": "hopper-expert-collected",
        "transitions": 30,
        "seed": 4,
        "policy_sha256": file_sha256(agent),
        "policy": "agent.zip",
        "algorithm": "SAC or TQC",
        "actions": "sampled",
        "dynamics": "v2",
    }
    assert expected.items() <= dataset.provenance.items()


def test_sampled_actions_have_the_log_density_of_the_policy(agent: Path) -> None:
    path, _ = collect_policy("hopper-expert", agent, transitions=10, seed=4)
    actor, noise = read_policy(agent).actor, np.random.default_rng(4)
    with h5py.File(path) as file:
        for row in range(10):
            action, log_prob = actor.act(file["observations"][row].astype(np.float64), noise)
            np.testing.assert_allclose(file["actions"][row], action, atol=1e-5)
            assert file["infos/action_log_probs"][row] == pytest.approx(log_prob, abs=1e-3)


@pytest.mark.parametrize(("weights", "actions"), [(sac_weights(), "mode"), (td3_weights(), "mode")])
def test_the_mode_is_recorded_without_log_density(tmp_path: Path, weights: dict, actions: str) -> None:
    path = write_zip(tmp_path / "agent.zip", weights)
    written, _ = collect_policy("hopper-expert", path, "mode", transitions=10)
    with h5py.File(written) as file:
        assert "infos/action_log_probs" not in file
        for observation, action in zip(file["observations"], file["actions"], strict=True):
            np.testing.assert_allclose(action, read_policy(path).actor.mode(observation), atol=1e-5)


def test_clipped_actions_are_recorded_without_log_density(tmp_path: Path) -> None:
    path, _ = collect_policy("hopper-expert", write_zip(tmp_path / "agent.zip", ppo_weights()), transitions=10)
    with h5py.File(path) as file:
        assert "infos/action_log_probs" not in file
    assert load_dataset("hopper-expert-collected").verified


def test_a_deterministic_agent_needs_its_mode(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no noise: pass --actions mode"):
        collect_policy("hopper-expert", write_zip(tmp_path / "agent.zip", td3_weights()), transitions=5)


def test_an_agent_of_another_robot_is_refused(tmp_path: Path) -> None:
    agent = write_zip(tmp_path / "agent.zip", sac_weights(17, 6))
    with pytest.raises(InputError, match=r"no policy of hopper.*\(17, 6\), not \(11, 3\)"):
        collect_policy("hopper-expert", agent, transitions=5)


def test_the_statistics_are_part_of_the_provenance(agent: Path, tmp_path: Path) -> None:
    statistics = tmp_path / "statistics.npz"
    np.savez(statistics, mean=np.zeros(11), var=np.ones(11))
    collect_policy("hopper-expert", agent, statistics=statistics, transitions=5)
    provenance = load_dataset("hopper-expert-collected").provenance
    assert provenance["observation_statistics_sha256"] == file_sha256(statistics)


def test_a_missing_own_dataset_says_how_to_collect_it(home: Path) -> None:
    with pytest.raises(InputError, match=r"collect --policy FILE --name hopper-expert"):
        load_dataset("hopper-expert-collected")
    with pytest.raises(InputError, match=r"Did you mean .*hopper-medium-collected"):
        load_dataset("hopper-medum-collected")
    assert not (home / "cache").exists()


def test_native_dynamics_are_not_the_names_data(agent: Path) -> None:
    path, _ = collect_policy("hopper-expert", agent, transitions=10, dynamics="native")
    assert path.name == "hopper-expert-collected-native.hdf5"
    dataset = load_dataset("hopper-expert-collected", path)
    assert dataset.label == "hopper-expert-collected (unverified)"


def test_a_file_of_another_name_is_not_taken_from_the_cache(agent: Path) -> None:
    path, _ = collect_policy("hopper-expert", agent, transitions=10)
    path.rename(collected_path("hopper-other-collected"))
    with pytest.raises(InputError, match="not collected under the name hopper-other-collected"):
        load_dataset("hopper-other-collected")


def test_the_command_collects_and_says_what_it_assumed(agent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--policy", str(agent), "--name", "hopper-expert", "--transitions", "20"]
    command.main([*flags, "--seed", "1"])
    printed = capsys.readouterr().out
    dataset = load_dataset("hopper-expert-collected")
    mean = np.mean([episode.rewards.sum() for episode in dataset.episodes])
    assert f"20 transitions in {len(dataset.episodes)} episodes with mean return {mean:.1f} (normalized" in printed
    assert dataset.sha256 in printed
    assert "assumed: hidden layers with relu" in printed
    assert "--dataset hopper-expert-collected" in printed
    with pytest.raises(InputError, match="--overwrite"):
        command.main(flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--policy", "a.zip"], "--policy needs a --name"),
        (["--union", "a", "b"], "--union needs a --name"),
        (["--name", "hopper-expert"], "--name is for data of --policy or --union"),
        (["--dataset", "hopper-medium-collected", "--policy", "a.zip"], "exclude one another"),
        (["--policy", "a.zip", "--union", "a", "b"], "exclude one another"),
        (["--actions", "mode"], "--actions has no effect without --policy"),
        (["--union", "a", "b", "--name", "hopper-two", "--seed", "1"], "--seed has no effect with --union"),
        (["--union", "a", "b", "--name", "hopper-two", "--transitions", "9"], "--transitions has no effect with"),
    ],
)
def test_flags_that_do_not_belong_together_are_refused(home: Path, flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        command.main(flags)
    assert not (home / "cache").exists()
