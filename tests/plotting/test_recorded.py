"""Numbers of recordings that figures draw."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trajectory_adacat.plotting.recorded import (
    PIT_BINS,
    density_of,
    names_of_dimensions,
    pit_histograms,
    what_came,
)
from trajectory_adacat.recording import Recording, load_recording


@pytest.fixture
def recording(tmp_path: Path, record: Callable[..., Path]) -> Recording:
    return load_recording(record(tmp_path, 0, 100.0))


def test_uniform_numbers_give_a_flat_histogram_with_a_mean_of_one() -> None:
    even = np.linspace(0.0, 1.0, 20 * PIT_BINS, endpoint=False).reshape(-1, 4)
    heights = pit_histograms({"a": [even[:50], even[50:]]})["observation"]["a"]
    assert heights.mean() == pytest.approx(1.0)
    assert heights == pytest.approx(1.0, abs=0.1)


def test_rewards_stand_apart_and_unknown_numbers_are_left_out() -> None:
    pit = np.array([[0.01, 0.01, 0.99], [0.01, np.nan, 0.99]])
    found = pit_histograms({"a": [pit], "b": [np.full((1, 3), np.nan)], "c": []})
    assert found["observation"]["a"][0] == PIT_BINS
    assert found["reward"]["a"][-1] == PIT_BINS
    assert set(found["observation"]) == set(found["reward"]) == {"a"}


def test_a_density_has_the_bins_and_masses_of_the_recording(recording: Recording) -> None:
    density = density_of(recording, 1, 2)
    assert density.edges[[0, -1]] == pytest.approx([-3.0, 3.0], abs=0.01)
    masses = density.all * np.diff(density.edges)
    assert masses == pytest.approx(recording.masses[1, 2].astype(float), rel=1e-3)


def test_the_cutoffs_leave_a_density_that_is_one_in_all(recording: Recording) -> None:
    density = density_of(recording, 0, 0)
    kept = density.kept * np.diff(density.edges)
    assert kept.sum() == pytest.approx(1.0)
    assert (kept > 0).tolist() == recording.kept[0, 0].tolist()
    assert density.kept_mass == pytest.approx(float(recording.masses[0, 0][recording.kept[0, 0]].sum()), rel=1e-3)


def test_a_bin_without_width_has_no_density(recording: Recording) -> None:
    widths = recording.widths.copy()
    widths[0, 0, 2] = 0.0
    assert density_of(replace(recording, widths=widths), 0, 0).all[2] == 0.0


def test_what_came_is_the_next_observation_and_the_action_and_reward_of_the_step(recording: Recording) -> None:
    step = recording.steps[1]
    real = [what_came(recording, 1, d) for d in range(len(names_of_dimensions(recording)))]
    assert real[:3] == recording.observations[step + 1].tolist()
    assert real[3:] == [*recording.actions[step].tolist(), 1.0, None]
