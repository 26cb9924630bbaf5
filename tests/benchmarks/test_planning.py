"""The planning benchmark counts the tokens that each planner computes, and compares like with like."""

import pytest
import torch

from benchmarks import planning
from benchmarks.planning import Case, Setting, make_search, measure
from trajectory_adacat.errors import InputError

TINY = Setting(observation_size=2, action_size=1, horizon=2, beam_width=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(planning.SETTINGS, "tiny", TINY)


def test_the_cached_planner_computes_each_token_once() -> None:
    timing = measure(Case("tiny", "full", 1, "learned", "float32"), 1, 1)
    context = 4 * 5 + 2
    first, second = 4 * 2, 2 * 3 + 4 * 2  # 4 candidates' action and reward; 2 beams' value and observation before them
    assert timing.tokens == context + first + second
    assert timing.seconds > 0.0 and timing.floor > 0.0 and timing.peak > 0.0


def test_the_naive_planner_computes_all_for_every_token() -> None:
    timing = measure(Case("tiny", "full", 1, "learned", "float32", is_naive=True), 1, 1)
    first = [(4, length) for length in (22, 23, 24)]  # rows and tokens in sight: for the action, reward and value
    then = [(2, 25), (2, 26), *((4, length) for length in (27, 28, 29))]  # two of an observation, and again
    assert timing.tokens == sum(rows * length for rows, length in first + then)


@pytest.mark.parametrize("n_environments", [1, 3])
def test_both_planners_find_the_same_plan(n_environments: int) -> None:
    torch.set_num_threads(1)
    case = Case("tiny", "cropped", n_environments, "learned", "float32")
    (cached,), (naive,) = (make_search(case._replace(is_naive=is_naive))[1]() for is_naive in (False, True))
    assert len(cached.actions) == n_environments
    torch.testing.assert_close(cached.actions, naive.actions)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match="--tasks knows halfcheetah, hopper, walker2d"):
        planning.main(["--tasks", "swimmer"])
