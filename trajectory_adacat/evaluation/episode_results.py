"""What results record of an episode."""

from collections.abc import Mapping
from typing import Any

from trajectory_adacat.evaluation.results import LIKELIHOOD, RolloutResult
from trajectory_adacat.evaluation.rollout import EpisodeResult
from trajectory_adacat.evaluation.scores import score
from trajectory_adacat.provenance import git_revision, library_versions, processor


def to_result(
    episode: EpisodeResult,
    description: Mapping[str, Any],
    hash: str,
    planner: dict[str, Any],
    environment: dict[str, Any],
    references: tuple[float, float] | None,
    likelihood: float | None = None,
) -> RolloutResult:
    """Return an episode's result with all that it depends on.

    Args:
        episode: a finished episode.
        description: of what acted: its ``parameterization``, ``train_seed``, ``step``, ``training`` and ``dataset``.
        hash: of what acted.
        planner: what defines the method.
        environment: what defines the environment.
        references: the returns that score 0 and 100, or None.
        likelihood: negative log-likelihood of the model on held-out data, nats per dimension.
    """
    dataset = description["dataset"]
    return RolloutResult(
        dataset=dataset["name"],
        parameterization=description["parameterization"],
        train_seed=description["train_seed"],
        rollout_seed=episode.seed,
        return_=episode.return_,
        normalized_score=score(episode.return_, references),
        length=episode.length,
        terminated=episode.terminated,
        truncated=episode.truncated,
        planner=planner,
        checkpoint={
            "hash": hash,
            "step": description["step"],
            "training": description["training"],
            "dataset": {key: dataset[key] for key in ("label", "sha256", "environment")},
            **({} if likelihood is None else {LIKELIHOOD: likelihood}),
        },
        environment=environment,
        versions={**library_versions(), "processor": processor()},
        git_revision=git_revision(),
        seconds_per_action=episode.seconds_per_action,
        data_status="verified" if dataset["verified"] else "unverified",
        references={"dataset mean return": dataset["mean_return"]},
        planned_return=None if episode.planned is None else episode.planned.planned,
        realized_return=None if episode.planned is None else episode.planned.realized,
    )
