"""Generations of ancestors against a walk along the parents of each row."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory_adacat.planning.ancestry import Ancestry

N_ROWS = 5
Steps = list[list[list[int]]]  # parents by step, environment and row


def steps() -> st.SearchStrategy[Steps]:
    row = st.lists(st.integers(0, N_ROWS - 1), min_size=N_ROWS, max_size=N_ROWS)
    return st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(row, min_size=n, max_size=n), min_size=1, max_size=5))


def ancestor(steps: Steps, environment: int, row: int, n_back: int) -> int:
    for step in range(n_back):
        row = steps[-1 - step][environment][row]
    return row


@settings(deadline=None)
@given(steps=steps(), data=st.data())
def test_each_generation_holds_every_distinct_ancestor_once_and_points_to_its_parent(
    steps: Steps, data: st.DataObject
) -> None:
    ancestry = Ancestry()
    for parents in steps:
        ancestry.select(torch.tensor(parents))
    n = data.draw(st.integers(1, len(steps)))
    generations = ancestry.generations(n)
    assert len(generations) == n
    for g in range(len(steps[0])):
        for depth, generation in enumerate(generations):
            n_back = n - 1 - depth
            found = [ancestor(steps, g, row, n_back) for row in generation.rows[g].tolist()]
            expected = {ancestor(steps, g, row, n_back) for row in range(N_ROWS)}
            assert set(found) == expected
            widest = max(len({ancestor(steps, e, r, n_back) for r in range(N_ROWS)}) for e in range(len(steps[0])))
            assert len(found) == widest
            if depth:
                older = generations[depth - 1].rows[g][generation.parents[g]].tolist()
                for row, representative in zip(generation.rows[g].tolist(), older, strict=True):
                    parent = ancestor(steps, g, row, n_back + 1)
                    assert ancestor(steps, g, representative, n_back + 1) == parent


def test_in_the_last_generation_each_row_stands_for_itself() -> None:
    ancestry = Ancestry()
    ancestry.select(torch.tensor([[2, 2, 0]]))
    (last,) = ancestry.generations(1)
    assert last.rows.tolist() == [[0, 1, 2]]
