"""Rewards, values, windows and masks, on small episodes and compared with plain loops."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trajectory_adacat.datasets import Episode
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import SequenceDataset, Trajectories, discounted_values, split_episodes
from trajectory_adacat.errors import InputError
from trajectory_adacat.transition import TransitionSpec

SPEC = TransitionSpec(2, 1)
UNIT = MinMaxNormalizer(torch.zeros(5), torch.ones(5))


def make_episode(rewards: Any, terminated: bool = False, observations: Any = None) -> Episode:
    """Return an episode with two observations and one action, which count its steps by default."""
    count = np.arange(len(rewards), dtype=np.float32)
    seen = np.stack([count, count + 0.5], 1) if observations is None else observations
    last = np.full(2, len(rewards), np.float32)
    return Episode(seen, count[:, None] + 0.25, np.asarray(rewards, np.float32), terminated, not terminated, last)


def random_episode(length: int, generator: np.random.Generator) -> Episode:
    numbers = generator.uniform(0.01, 0.99, (length, 4)).astype(np.float32)
    last = np.zeros(2, np.float32)
    return Episode(numbers[:, :2], numbers[:, 2:3], numbers[:, 3], False, True, last)


def rows_of(*episodes: Episode, discount: float = 0.5, penalty: float | None = None) -> np.ndarray:
    return Trajectories.from_episodes(episodes, discount, penalty).transitions.numpy()


def test_a_row_is_observation_action_reward_value() -> None:
    rows = rows_of(make_episode([1, 2, 4]))
    np.testing.assert_array_equal(rows, [[0, 0.5, 0.25, 1, 2 + 0.5 * 4], [1, 1.5, 1.25, 2, 4], [2, 2.5, 2.25, 4, 0]])
    assert SPEC.dimension == rows.shape[1]


def test_a_value_excludes_its_own_reward() -> None:
    first, changed = rows_of(make_episode([1, 2, 4])), rows_of(make_episode([1, 200, 4]))
    np.testing.assert_array_equal(first[1:, 4], changed[1:, 4])
    assert changed[0, 4] - first[0, 4] == 198


def test_the_penalty_replaces_the_last_reward_before_values_are_computed() -> None:
    rows = rows_of(make_episode([1, 2, 4], terminated=True), penalty=-100.0)
    np.testing.assert_array_equal(rows[:, 3], [1, 2, -100])
    np.testing.assert_array_equal(rows[:, 4], [2 - 50, -100, 0])


def test_truncated_episodes_have_no_penalty() -> None:
    cut, ended = make_episode([1, 2, 4]), make_episode([1, 2, 4], terminated=True)
    np.testing.assert_array_equal(rows_of(cut, penalty=-100.0), rows_of(cut))
    np.testing.assert_array_equal(rows_of(ended), rows_of(cut))


def test_a_penalty_of_zero_is_a_penalty() -> None:
    np.testing.assert_array_equal(rows_of(make_episode([1, 2, 4], terminated=True), penalty=0.0)[:, 3], [1, 2, 0])


def test_the_episodes_rewards_are_not_modified() -> None:
    episode = make_episode([1, 2, 4], terminated=True)
    rows_of(episode, penalty=-100.0)
    np.testing.assert_array_equal(episode.rewards, [1, 2, 4])


def test_values_do_not_leak_between_episodes() -> None:
    together = rows_of(make_episode([1, 2]), make_episode([10, 20, 30]))
    alone = [rows_of(make_episode([1, 2])), rows_of(make_episode([10, 20, 30]))]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_episodes_longer_than_1000_steps_have_values_over_their_whole_length() -> None:
    rows = rows_of(make_episode(np.ones(2500)), discount=1.0)
    np.testing.assert_array_equal(rows[:, 4], np.arange(2500)[::-1])


@settings(deadline=None)
@given(rewards=st.lists(st.floats(-100, 100), min_size=1, max_size=30), discount=st.floats(0, 1))
def test_values_match_a_plain_loop(rewards: list[float], discount: float) -> None:
    expected = [sum(discount**j * reward for j, reward in enumerate(rewards[t + 1 :])) for t in range(len(rewards))]
    np.testing.assert_allclose(discounted_values(np.array(rewards), discount), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_discount_out_of_range_is_refused(discount: float) -> None:
    with pytest.raises(InputError, match="discount"):
        Trajectories.from_episodes([make_episode([1, 2])], discount, None)


@pytest.mark.parametrize("penalty", [float("nan"), float("-inf")])
def test_a_penalty_that_is_not_finite_is_refused(penalty: float) -> None:
    with pytest.raises(InputError, match="termination_penalty"):
        Trajectories.from_episodes([make_episode([1, 2])], 0.9, penalty)


def test_episodes_of_one_step_are_skipped_and_counted() -> None:
    trajectories = Trajectories.from_episodes([make_episode([1]), make_episode([1, 2]), make_episode([3])], 0.9, None)
    assert trajectories.n_skipped == 2
    assert len(trajectories.transitions) == 2


def test_data_without_longer_episodes_is_refused() -> None:
    with pytest.raises(InputError, match="None of the 2 episodes"):
        Trajectories.from_episodes([make_episode([1]), make_episode([1])], 0.9, None)


# -- windows -------------------------------------------------------------------------------------------------


def loop_windows(rows: list[np.ndarray], length: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Build every window and its mask token by token."""
    windows, masks = [], []
    for episode in rows:
        for start in range(len(episode) - 1):
            tokens, mask = [], []
            for i in range(length):
                row = start + i * step
                for dimension in range(episode.shape[1]):
                    tokens.append(episode[row, dimension] if row < len(episode) else 0.0)
                    mask.append(row < len(episode))
            windows.append(tokens)
            masks.append(mask)
    return np.array(windows, np.float32), np.array(masks)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(2, 7), min_size=1, max_size=5),
    length=st.integers(1, 6),
    step=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_batches_match_a_plain_loop(lengths: list[int], length: int, step: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    episodes = [random_episode(n, generator) for n in lengths]
    trajectories = Trajectories.from_episodes(episodes, 0.3, None)
    normalizer = MinMaxNormalizer.fit(trajectories.transitions)
    dataset = SequenceDataset(trajectories, normalizer, SPEC, length, step)
    normalized = normalizer.normalize(trajectories.transitions).numpy()
    windows, masks = loop_windows(np.split(normalized, np.cumsum(lengths)[:-1]), length, step)
    assert len(dataset) == len(windows)
    order = generator.permutation(len(windows))
    batch = dataset.batch(torch.from_numpy(order))
    np.testing.assert_array_equal(batch.tokens.numpy(), windows[order])
    np.testing.assert_array_equal(batch.mask.numpy(), masks[order])
    assert (batch.tokens.dtype, batch.mask.dtype) == (torch.float32, torch.bool)
    assert dataset.n_targets == masks[:, 1:].sum()


def numbered(*lengths: int) -> Trajectories:
    """Return episodes in which step t of episode e observes e / 10 and t / 10; everything else is 0."""
    episodes = []
    for e, length in enumerate(lengths):
        seen = np.stack([np.full(length, e / 10), np.arange(length) / 10], 1).astype(np.float32)
        zeros = np.zeros((length, 1), np.float32)
        episodes.append(Episode(seen, zeros, zeros[:, 0], False, True, np.zeros(2, np.float32)))
    return Trajectories.from_episodes(episodes, 0.9, None)


def steps_of(dataset: SequenceDataset, window: int) -> list[tuple[int, int]]:
    """Return the episode and step of each unmasked transition of a window."""
    batch = dataset.batch(torch.tensor([window]))
    tokens, mask = (x.view(dataset.length, -1) for x in (batch.tokens, batch.mask))
    assert (mask == mask[:, :1]).all()
    return [(round(10 * float(row[0])), round(10 * float(row[1]))) for row in tokens[mask[:, 0]]]


def test_a_window_starts_at_each_step_but_the_last_and_ends_with_its_episode() -> None:
    dataset = SequenceDataset(numbered(3, 2), UNIT, SPEC, 3)
    assert [steps_of(dataset, i) for i in range(len(dataset))] == [
        [(0, 0), (0, 1), (0, 2)],
        [(0, 1), (0, 2)],
        [(1, 0), (1, 1)],
    ]


def test_transitions_of_a_window_are_step_apart() -> None:
    dataset = SequenceDataset(numbered(6, 3), UNIT, SPEC, 3, step=2)
    assert [steps_of(dataset, i) for i in range(len(dataset))] == [
        [(0, 0), (0, 2), (0, 4)],
        [(0, 1), (0, 3), (0, 5)],
        [(0, 2), (0, 4)],
        [(0, 3), (0, 5)],
        [(0, 4)],
        [(1, 0), (1, 2)],
        [(1, 1)],
    ]


def test_padding_is_zero_and_masked() -> None:
    batch = SequenceDataset(numbered(4), UNIT, SPEC, 4).batch(torch.tensor([2]))
    np.testing.assert_array_equal(batch.mask[0].numpy(), [True] * 10 + [False] * 10)
    np.testing.assert_array_equal(batch.tokens[0, 10:].numpy(), np.zeros(10))


@pytest.mark.parametrize(
    ("length", "step", "flag"),
    [(0, 1, "--subsampled_sequence_length"), (-2, 1, "--sub"), (1, 0, "--step"), (1, -1, "--step")],
)
def test_sizes_below_one_are_refused(length: int, step: int, flag: str) -> None:
    with pytest.raises(InputError, match=flag):
        SequenceDataset(numbered(4), UNIT, SPEC, length, step)


def test_values_outside_the_training_bounds_are_clamped_and_counted() -> None:
    training = Trajectories.from_episodes([make_episode([1, 2, 4])], 0.5, None)
    normalizer = MinMaxNormalizer.fit(training.transitions)
    held_out = Trajectories.from_episodes([make_episode([1, 2, 4, 3])], 0.5, None)
    assert SequenceDataset(training, normalizer, SPEC, 2).n_clamped == 0
    dataset = SequenceDataset(held_out, normalizer, SPEC, 2)
    # Out of bounds: the fourth step's two observations and action, and the first two values, 4.75 and 5.5.
    assert dataset.n_clamped == 5
    batch = dataset.batch(torch.arange(len(dataset)))
    assert batch.tokens.min() == 0
    assert batch.tokens.max() == 1


# -- held-out episodes ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(count=st.integers(2, 40), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_episodes_are_split_whole_and_both_sets_have_one(count: int, fraction: float, seed: int) -> None:
    episodes = [make_episode([i, i]) for i in range(count)]
    training, held_out = split_episodes(episodes, fraction, seed)
    assert {id(e) for e in training} | {id(e) for e in held_out} == {id(e) for e in episodes}
    assert len(training) + len(held_out) == count
    assert min(len(training), len(held_out)) >= 1
    assert abs(len(held_out) - fraction * count) <= 1


def test_the_seed_determines_the_split() -> None:
    episodes = [make_episode([i, i]) for i in range(50)]
    held = [{id(e) for e in split_episodes(episodes, 0.2, seed)[1]} for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


def test_nothing_is_held_out_at_fraction_0() -> None:
    episodes = [make_episode([1, 2])]
    assert split_episodes(episodes, 0.0, 0) == (episodes, [])


def test_episodes_too_short_for_a_window_are_not_held_out() -> None:
    episodes = [make_episode([1, 2]), *(make_episode([1]) for _ in range(30)), make_episode([1, 2])]
    for seed in range(5):
        parts = split_episodes(episodes, 0.05, seed)
        assert [sum(len(e) > 1 for e in part) for part in parts] == [1, 1]
        assert sum(len(part) for part in parts) == len(episodes)


def test_a_single_episode_cannot_be_split() -> None:
    with pytest.raises(InputError, match="--holdout_fraction 0"):
        split_episodes([make_episode([1, 2]), make_episode([1])], 0.1, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="holdout_fraction"):
        split_episodes([make_episode([1, 2]) for _ in range(4)], fraction, 0)
