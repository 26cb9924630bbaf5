"""D4RL's normalized scores."""

from collections.abc import Sequence

from trajectory_adacat.robots import find_dataset


def own_environments(dataset: str) -> set[str] | None:
    """Return the ids of the environments that the reference returns of an official or collected dataset hold for.

    The result is None for all other names.
    """
    named = find_dataset(dataset)
    return {named.robot.corrected_id, named.robot.native_id} if named else None


def reference_returns(dataset: str) -> tuple[float, float] | None:
    """Return the returns that score 0 and 100 on a dataset's environment.

    Collected datasets share the references of the official ones: the environment is the same. The result is None for
    all other names.
    """
    named = find_dataset(dataset)
    return named.robot.reference_returns if named else None


def references_in(dataset: str, robot: str | None, recorded: Sequence[float] | None) -> tuple[float, float] | None:
    """Return the returns that score 0 and 100 on a dataset in the environment that rollouts use, or None.

    Args:
        dataset: the name of the training data.
        robot: id of the robot whose body and rewards the environment has; None for any other environment.
        recorded: the returns that a Minari dataset gives for its own environment, if this is that environment.
    """
    if recorded is not None:
        low, high = recorded
        return (low, high) if high > low else None
    named = find_dataset(dataset)
    return named.robot.reference_returns if named is not None and named.robot.id == robot else None


def score(undiscounted_return: float, references: tuple[float, float] | None) -> float | None:
    """Scale a return so that the references score 0 and 100; None without references."""
    if references is None:
        return None
    low, high = references
    return 100.0 * (undiscounted_return - low) / (high - low)


def normalized_score(dataset: str, undiscounted_return: float) -> float | None:
    """Compute the normalized score of a return in the dataset's own environment.

    The score is 0 for the random policy and 100 for the expert. It is 100 times D4RL's ``get_normalized_score``, which
    equals Trajectory Transformer's ``score``. The result is None where no reference returns are known.
    """
    return score(undiscounted_return, reference_returns(dataset))
