"""Jobs and what they need: which are done, which depend on one, and how long they take."""

import pytest

from trajectory_adacat.sweep.jobs import by_priority, dependants, duration, find_done

from .conftest import job


def test_a_job_is_not_done_if_one_that_it_needs_is_not() -> None:
    first, second = job("train", "a", "", lambda: False), job("plan", "a", "", lambda: True, "train a")
    assert find_done([first, second]) == set()
    assert find_done([job("train", "a", "", lambda: True), second]) == {"train a", "plan a"}


def test_dependants_are_found_through_others() -> None:
    jobs = [
        job("collect", "d", "", bool),
        job("train", "a", "", bool, "collect d"),
        job("train", "b", "", bool),
        job("plan", "a", "", bool, "train a"),
    ]
    assert dependants("collect d", jobs) == ["train a", "plan a"]
    assert dependants("train b", jobs) == []


def test_data_and_plans_start_before_trainings() -> None:
    jobs = [job("train", "a", "", bool), job("critic", "a", "", bool), job("plan", "b", "", bool)]
    assert [found.kind for found in by_priority(jobs)] == ["plan", "critic", "train"]


@pytest.mark.parametrize(("processes", "seconds"), [(1, 4.0), (2, 2.0), (8, 2.0)])  # each job takes a second
def test_the_duration_is_shared_evenly_or_the_longest_chain(processes: int, seconds: float) -> None:
    chains = [[job("train", name, "", bool), job("plan", name, "", bool, f"train {name}")] for name in "ab"]
    assert duration([*chains[0], *chains[1]], processes) == seconds
