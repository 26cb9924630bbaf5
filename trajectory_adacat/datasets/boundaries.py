"""Where episodes end in the rows of a D4RL-format file.

A flag marks the last row of an episode: ``terminals`` for termination, ``timeouts`` for truncation. If both are set,
the episode counts as terminated. The rows after the last flag form a truncated episode. So do the rows before a change
of ``episode_ids``, where the file has them, and the rows before a break: a row whose ``next_observations`` is not the
observation of the row after it.
"""

import itertools
from collections.abc import Mapping

import numpy as np

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.errors import DataError

BLOCK = 1 << 16  # rows compared at a time, to save memory
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of a dimension's largest value
SHARE_OF_RANGE = 1e-5  # of a dimension's range
MOST_BREAKS = 0.5  # share of the rows; with more, the rows are not in the order of time

Arrays = Mapping[str, np.ndarray]


def split_episodes(arrays: Arrays, check_continuity: bool = True) -> tuple[list[Episode], list[str]]:
    """Split the arrays of `read_d4rl` into episodes, which are views of these arrays.

    Args:
        arrays: by name.
        check_continuity: end episodes also where ``next_observations`` contradicts the next row. False for files whose
            flags are known to be right.

    Returns:
        The episodes, and lines for the user: breaks that were found, flags that were moved, and what had to be assumed.

    Raises:
        DataError: if the rows are not in the order of time, or an episode's id comes back after other episodes.
    """
    terminals = arrays["terminals"]
    timeouts = arrays.get("timeouts", np.zeros_like(terminals))
    changes = _changes_of_id(arrays)
    notes = []
    if check_continuity and "next_observations" in arrays:
        breaks = find_breaks(arrays)
        terminals, timeouts, moved = _move_late_flags(terminals, timeouts, breaks)
        extra = breaks & ~(terminals | timeouts | changes)
        _check_order(extra)
        notes = _notes_of_breaks(int(extra.sum()), moved)
        changes = changes | breaks
    elif "next_observations" not in arrays and "episode_ids" not in arrays:
        notes = _notes_of_assumption(arrays)
    ends = np.flatnonzero(terminals | timeouts | changes) + 1
    bounds = np.unique([0, *ends.tolist(), len(terminals)]).tolist()
    return [_episode(arrays, slice(*bound), terminals) for bound in itertools.pairwise(bounds)], notes


def find_breaks(arrays: Arrays) -> np.ndarray:
    """Return for each row whether its next observation is not the next row's observation, ``[N]``; False for the last.

    Differences within rounding count as none: some units in the last place of float32 at the dimension's largest value,
    and a hundred-thousandth of its range.
    """
    observations, following = arrays["observations"], arrays["next_observations"]
    low, high = observations.min(0), observations.max(0)
    largest = np.maximum(np.abs(low), np.abs(high))
    tolerance = (ROUNDING * largest + SHARE_OF_RANGE * (high - low)).astype(observations.dtype)
    breaks = np.zeros(len(observations), bool)
    for start in range(0, len(observations) - 1, BLOCK):
        stop = min(start + BLOCK, len(observations) - 1)
        rows = following[start:stop]
        differing = np.unique(np.nonzero(rows != observations[start + 1 : stop + 1])[0])  # few, in most files
        difference = np.abs(rows[differing] - observations[start + 1 + differing])
        breaks[start + differing] = (difference > tolerance).any(1)
    return breaks


def _move_late_flags(
    terminals: np.ndarray, timeouts: np.ndarray, breaks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Move flags that stand on the first row of the next episode to the last row of their own.

    Such a row follows a break without a flag, and goes on to the row after it. Some recorders flag the first row of the
    first episode too: where others are moved, that flag is dropped.
    """
    flags = terminals | timeouts
    goes_on = flags & ~breaks
    goes_on[-1] = False  # nothing is known of what follows the last row
    late = np.flatnonzero(goes_on[1:] & breaks[:-1] & ~flags[:-1]) + 1
    if len(late) == 0:
        return terminals, timeouts, 0
    terminals, timeouts = terminals.copy(), timeouts.copy()
    for array in (terminals, timeouts):
        array[late - 1] = array[late]
        array[late] = False
        if goes_on[0]:
            array[0] = False
    return terminals, timeouts, len(late)


def _changes_of_id(arrays: Arrays) -> np.ndarray:
    changes = np.zeros(len(arrays["terminals"]), bool)
    if "episode_ids" in arrays:
        ids = arrays["episode_ids"]
        changes[:-1] = ids[1:] != ids[:-1]
        first_rows = np.append(0, np.flatnonzero(changes) + 1)
        _, order = np.unique(ids[first_rows], return_index=True)
        if len(order) < len(first_rows):
            row = int(first_rows[np.setdiff1d(np.arange(len(first_rows)), order)[0]])
            raise DataError(
                f"The episode id {ids[row]} comes back in row {row}, after other episodes: sort the rows by episode "
                "and time, and give each episode an id of its own."
            )
    return changes


def _check_order(extra: np.ndarray) -> None:
    n_breaks = int(extra.sum())
    if n_breaks > MOST_BREAKS * len(extra):
        raise DataError(
            f"In {n_breaks} of {len(extra)} rows next_observations is not the observation of the next row, so the rows "
            "are not in the order of time: sort them by episode and time. If they are, next_observations are scaled "
            "otherwise than observations: remove them from the file, and add timeouts."
        )


def _notes_of_breaks(n_breaks: int, n_moved: int) -> list[str]:
    notes = []
    if n_moved:
        notes.append(f"moved {n_moved} flags from the first row of the next episode to the last row of their own")
    if n_breaks:
        notes.append(
            f"found {n_breaks} rows without a flag whose next_observations is not the next row's observation: ended "
            "their episodes there (truncated)"
        )
    return notes


def _notes_of_assumption(arrays: Arrays) -> list[str]:
    timeouts = arrays.get("timeouts")
    if timeouts is not None and (timeouts.any() or arrays["terminals"].any()):
        return []
    flags = "terminals" if timeouts is None else "its flags"
    return [
        f"warning: the file has no next_observations and no {'timeouts' if timeouts is None else 'flag set'}, so its "
        f"episodes are assumed to end at {flags} alone; any that a time limit ended are joined with the next one. Add "
        "timeouts, next_observations or episode_ids to the file, or pass --cut_episodes with the time limit"
    ]


def _episode(arrays: Arrays, rows: slice, terminals: np.ndarray) -> Episode:
    terminated = bool(terminals[rows.stop - 1])
    observations = arrays["observations"][rows]
    if "next_observations" in arrays:
        final_observation = arrays["next_observations"][rows.stop - 1]
    else:  # the next row belongs to another episode
        final_observation = np.full(observations.shape[1], np.nan, observations.dtype)
    return Episode(
        observations=observations,
        actions=arrays["actions"][rows],
        rewards=arrays["rewards"][rows],
        terminated=terminated,
        truncated=not terminated,
        final_observation=final_observation,
        action_log_probs=arrays["action_log_probs"][rows] if "action_log_probs" in arrays else None,
    )
