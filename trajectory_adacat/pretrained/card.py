"""The card of a model: what it was trained on and how, and what it returns; made from the files beside it alone."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trajectory_adacat.checkpoint import read_training
from trajectory_adacat.critic.checkpoint import read_critic
from trajectory_adacat.evaluation.statistics import standard_error, units
from trajectory_adacat.pretrained.folder import RETURNS, Pretrained

GROUPS = ("observation", "action", "reward", "value", "all")  # of dimensions
CRITIC_MEASURES = {"td_error": "TD error", "rank_correlation": "rank correlation of V with the return"}
SCORED_BY = {"values": "value tokens", "critic": "the critic"}


def render(pretrained: Pretrained) -> str:
    """Return the card, in Markdown.

    Raises:
        InputError: if a checkpoint cannot be read.
    """
    model = read_training(pretrained.model)
    critic = None if pretrained.critic is None else read_critic(pretrained.critic)
    records = json.loads((pretrained.folder / RETURNS).read_text(encoding="utf-8"))
    return "\n".join([*_head(pretrained, model), *_training(model, critic), *_returns(model, records)]) + "\n"


def _head(pretrained: Pretrained, model: Mapping[str, Any]) -> Iterator[str]:
    dataset = model["dataset"]
    yield f"# {pretrained.name}"
    yield ""
    yield f"    trajectory-adacat plan --pretrained {pretrained.name}"
    yield ""
    yield f"- Data: {dataset['label']}, SHA-256 `{dataset['sha256']}`, mean return {dataset['mean_return']:.0f}."
    if dataset["environment"] is not None:
        yield f"- Environment: {dataset['environment']}."
    yield "- Weights: half precision; the moving average of the model's."
    yield "- `trajectory-adacat export` wrote this file from those beside it: do not edit it."


def _training(model: Mapping[str, Any], critic: Mapping[str, Any] | None) -> Iterator[str]:
    yield ""
    yield "## Training"
    yield ""
    yield from _facts(f"Model ({model['parameterization']} outputs)", model)
    likelihood = _held_out(model, "held_out_ema/", {name: name for name in GROUPS})
    if likelihood:
        yield f"  Held-out negative log-likelihood, nats per dimension: {likelihood}."
    if critic is not None:
        yield from _facts("Critic", critic)
        measures = _held_out(critic, "held_out/", CRITIC_MEASURES)
        if measures:
            yield f"  Held out: {measures}."


def _facts(title: str, description: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a checkpoint was trained: the command, the steps, the minutes, the processor, the version of torch."""
    seconds = description.get("metrics", {}).get("seconds_per_step")
    took = "" if seconds is None else f" in {seconds * description['step'] / 60:.0f} minutes"
    torch, processor = description["trained_with"]["versions"]["torch"], description["processor"]
    yield f"- {title}: `{description['command']}`:"
    yield f"  {description['step']:,} steps{took} on {processor}, torch {torch}."


def _held_out(description: Mapping[str, Any], prefix: str, names: Mapping[str, str]) -> str:
    metrics = description.get("metrics", {})
    return ", ".join(f"{text} {metrics[prefix + name]:.2f}" for name, text in names.items() if prefix + name in metrics)


def _returns(model: Mapping[str, Any], records: list[dict[str, Any]]) -> Iterator[str]:
    if not records:
        return
    seed = str(model["train_seed"])
    yield ""
    yield "## Returns"
    yield ""
    yield (
        "Mean ± standard error of the rollouts given to the export: over trainings of several seeds where there are "
        f"several, else over rollouts. The last column is this training's (seed {seed}), over its rollouts."
    )
    yield ""
    columns = ("plan", "environment", "steps at most", "trainings x rollouts", "return", "normalized score")
    yield f"| {' | '.join(columns)} | return of seed {seed} |"
    yield "|" + "---|" * (len(columns) + 1)
    for record in records:
        yield _row(record, seed)


def _row(record: Mapping[str, Any], seed: str) -> str:
    returns, scores = record["returns"], record["scores"]
    sizes = sorted({len(rollouts) for rollouts in returns.values()})
    cells = [
        plan_text(record["planner"]),
        record["environment"],
        str(record["planner"]["max_episode_length"]),
        f"{len(returns)} x {' or '.join(map(str, sizes))}",
        _mean(returns, 0),
        _mean(scores, 1) if scores else "none",
        _mean({seed: returns[seed]}, 0) if seed in returns else "not measured",
    ]
    return f"| {' | '.join(cells)} |"


def plan_text(planner: Mapping[str, Any]) -> str:
    """Return in words how a plan was made."""
    search = planner["search"]
    horizon, beams, actions = (search[name] for name in ("horizon", "beam_width", "n_expand"))
    if beams * actions == 1:
        return "no search: actions sampled from the model"
    scored_by = SCORED_BY[planner["scoring"]["name"]]
    return f"search: horizon {horizon}, {beams} x {actions} candidates, scored by {scored_by}"


def _mean(values: Mapping[str, list[float]], digits: int) -> str:
    """Return ``mean ± standard error``, over the trainings' means if there are several trainings."""
    numbers = units(list(values.values()))
    error = standard_error(numbers)
    mean = f"{float(np.mean(numbers)):.{digits}f}"
    return mean if error is None else f"{mean} ± {error:.{digits}f}"
