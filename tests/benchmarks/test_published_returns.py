"""Returns of agents on both dynamics: what is measured, kept and printed."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import published_returns
from benchmarks.published_returns import RETURNS_FILE, Publication, main
from tests.datasets.sb3_zips import sac_weights, write_zip
from trajectory_adacat.datasets.policy_files import fingerprint, read_policy
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "agent.zip", sac_weights())


def flags(agent: Path, episodes: int) -> list[str]:
    return [str(agent), "--robot", "hopper", "--episodes", str(episodes), "--out", str(agent.parent / "out")]


def lines(agent: Path) -> list[dict]:
    return [json.loads(line) for line in (agent.parent / "out" / RETURNS_FILE).read_text().splitlines()]


def test_every_episode_is_a_line_with_the_return_of_the_mode(agent: Path) -> None:
    main(flags(agent, 2))
    records = lines(agent)
    assert [(record["dynamics"], record["seed"]) for record in records] == [
        (dynamics, seed) for dynamics in ("v2", "native") for seed in (0, 1)
    ]
    for record in records:
        env, actor = make_environment("Hopper-v4", record["dynamics"]), read_policy(agent).actor
        observation, _ = env.reset(seed=record["seed"])
        rewards, ends = [], False
        while not ends:
            observation, reward, ends, cut, _ = env.step(actor.mode(observation))
            rewards.append(float(reward))
            ends |= cut
        assert record["return"] == pytest.approx(sum(rewards), abs=1e-3)
        assert record["length"] == len(rewards)


def test_only_missing_episodes_are_run(agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main(flags(agent, 1))
    path = agent.parent / "out" / RETURNS_FILE
    first = path.read_text()
    path.write_text(first + first[:40])  # the line of a killed process
    seeds = []

    def run(env: object, actor: object, seed: int) -> tuple[float, int]:
        seeds.append(seed)
        return 1.0, 1

    monkeypatch.setattr(published_returns, "greedy_return", run)
    main(flags(agent, 2))
    assert seeds == [1, 1]
    assert path.read_text().startswith(first)
    assert [record["seed"] for record in lines(agent)] == [0, 0, 1, 1]


def test_a_published_agent_is_known_by_its_weights(
    agent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {fingerprint(read_policy(agent).actor): Publication("tqc Hopper-v3", "hopper", 3754, 8)}
    monkeypatch.setattr(published_returns, "PUBLISHED", known)
    returns = iter([1.0, 3.0, 8.0, 10.0])
    monkeypatch.setattr(published_returns, "greedy_return", lambda *_: (next(returns), 5))
    main([str(agent), "--episodes", "2", "--out", str(agent.parent / "out")])
    assert "| tqc Hopper-v3 | 3754 ± 8 | 2 ± 1 | 2 | 9 ± 1 | 9 |" in capsys.readouterr().out


def test_an_unknown_agent_needs_its_robot(agent: Path) -> None:
    with pytest.raises(InputError, match="none of the published agents: pass --robot"):
        main([str(agent)])
    with pytest.raises(InputError, match=r"sizes \(11, 3\), unlike walker2d"):
        main([str(agent), "--robot", "walker2d"])


def test_the_published_returns_are_of_robots_with_these_names() -> None:
    agents = list(published_returns.PUBLISHED.values())
    assert len({publication.agent for publication in agents}) == 6
    assert all(publication.robot == publication.agent.split()[1].split("-")[0].lower() for publication in agents)
    assert all(np.isfinite([publication.mean, publication.deviation]).all() for publication in agents)
