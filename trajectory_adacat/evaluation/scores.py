"""D4RL's normalized scores."""

from trajectory_adacat.robots import named_datasets


def own_environments(dataset: str) -> set[str] | None:
    """Return the ids of the environments that the reference returns of an official or collected dataset hold for.

    The result is None for all other names.
    """
    named = named_datasets().get(dataset)
    return {named.robot.corrected_id, named.robot.native_id} if named else None


def reference_returns(dataset: str) -> tuple[float, float] | None:
    """Return the returns that score 0 and 100 on a dataset's environment.

    Collected datasets share the references of the official ones: the environment is the same. The result is None for
    all other names.
    """
    named = named_datasets().get(dataset)
    return named.robot.reference_returns if named else None


def normalized_score(dataset: str, undiscounted_return: float) -> float | None:
    """Compute the normalized score of a return: 0 for the random policy, 100 for the expert.

    This is 100 times D4RL's ``get_normalized_score``, which equals Trajectory Transformer's ``score``. The result is
    None where no reference returns are known.
    """
    references = reference_returns(dataset)
    if references is None:
        return None
    low, high = references
    return 100.0 * (undiscounted_return - low) / (high - low)
