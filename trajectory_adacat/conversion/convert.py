"""Convert a training folder of Trajectory Transformer or of AdaCat's code to this package's model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trajectory_adacat.conversion.folder import TrainingFolder
from trajectory_adacat.conversion.rows import (
    bounds,
    bounds_of_thresholds,
    joined_rows,
    normalized_edges,
    quantile_thresholds,
)
from trajectory_adacat.conversion.weights import convert_weights
from trajectory_adacat.datasets import Dataset
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import DataConfig, SequenceDataset, Trajectories
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig, ModelConfig
from trajectory_adacat.models.heads.adacat import AdaCatConfig
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.models.heads.fixed_bins import QuantileConfig
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.training.config import TrainConfig, TrainerConfig
from trajectory_adacat.training.optimizer import AdamWConfig
from trajectory_adacat.transition import TransitionSpec

N_COMPARED = 256  # windows on which the likelihood is measured


@dataclass(frozen=True)
class Converted:
    """A converted training.

    Attributes:
        model: with the raw weights.
        average: with the averaged weights; with the raw ones where the training kept no average.
        normalizer: maps the data to [0, 1].
        config: settings of the training.
        seed: of the training.
        step: training step of the weights.
        gain: mean log-likelihood of a token of the dataset, in nats, above that of equal logits. It is low where the
            dataset is not that of the training.
        notes: lines for the user: what the conversion changed.
    """

    model: GPT
    average: GPT
    normalizer: MinMaxNormalizer
    config: TrainConfig
    seed: int
    step: int
    gain: float
    notes: list[str]


def convert(folder: TrainingFolder, dataset: Dataset) -> Converted:
    """Convert a training folder.

    Args:
        folder: its contents.
        dataset: that of the training, under the name that it had there.

    Raises:
        InputError: if the folder holds what this package does not have, or the dataset is not that of the training.
    """
    try:
        config = train_config(folder)
        form = model_form(folder, config)
        seed = int(folder.arguments["seed"])
        n_trained = folder.trainer["warmup_tokens"] // folder.model["block_size"]  # an epoch's windows
        named = folder.data["env"]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"The configuration in {folder.path} cannot be read ({error!r}).") from error
    if named != dataset.name:
        raise InputError(f"{folder.path} was trained on {named}, not on --dataset {dataset.name}.")
    rows = _rows_of_training(folder, config.data, form.spec, dataset)
    normalizer, edges = _scale(form.head, rows.transitions)
    windows = SequenceDataset(rows, normalizer, form.spec, form.n_transitions, config.data.step)
    _check_count(folder, len(windows), n_trained)
    model = convert_weights(folder.weights, form, edges)
    average = model if folder.average is None else convert_weights(folder.average, form, edges)
    n_batches = -(-len(windows) // config.trainer.batch_size)
    return Converted(
        model=model,
        average=average,
        normalizer=normalizer,
        config=config,
        seed=seed,
        step=folder.epoch * n_batches,
        gain=likelihood_gain(average, windows),
        notes=_notes(folder, form.head),
    )


def train_config(folder: TrainingFolder) -> TrainConfig:
    """Return the settings of the training as this package names them.

    Raises:
        InputError: if the folder's discretizer or distribution is not one of this package.
        KeyError, TypeError, ValueError: if a setting is missing or of the wrong type.
    """
    data, model, trainer = folder.data, folder.model, folder.trainer
    step, penalty = data["step"], data["penalty"]
    return TrainConfig(
        data=DataConfig(
            discount=data["discount"],
            termination_penalty=None if penalty is None else float(penalty),
            holdout_fraction=0.0,
            subsampled_sequence_length=data["sequence_length"] // step,
            step=step,
        ),
        model=ModelConfig(
            head=_head_config(folder),
            n_layer=model["n_layer"],
            n_head=model["n_head"],
            n_embd=model["n_embd"] // model["n_head"],
            head_init="uniform",  # as both codebases start
            embd_pdrop=float(model["embd_pdrop"]),
            attn_pdrop=float(model["attn_pdrop"]),
            resid_pdrop=float(model["resid_pdrop"]),
        ),
        loss=LossConfig(**{name: float(model[name]) for name in ("action_weight", "reward_weight", "value_weight")}),
        trainer=_trainer_config(folder, trainer),
    )


def _trainer_config(folder: TrainingFolder, trainer: dict[str, Any]) -> TrainerConfig:
    beta1, beta2 = trainer["betas"]
    return TrainerConfig(
        optimizer=AdamWConfig(
            learning_rate=float(trainer["learning_rate"]),
            weight_decay=float(trainer["weight_decay"]),
            beta1=beta1,
            beta2=beta2,
        ),
        batch_size=trainer["batch_size"],
        grad_norm_clip=float(trainer["grad_norm_clip"]),
        lr_decay=trainer["lr_decay"],
        final_epochs=trainer["final_tokens"] / trainer["warmup_tokens"],
        lr_schedule_end="rise",
        ema_decay=folder.ema_decay,
        n_epochs_ref=float(folder.arguments["n_epochs_ref"]),
    )


def _head_config(folder: TrainingFolder) -> HeadConfig:
    if not folder.model.get("new", False):
        discretizer = folder.data["discretizer"]
        if discretizer != "QuantileDiscretizer":
            raise InputError(f"{folder.path} has the discretizer {discretizer}; only QuantileDiscretizer is converted.")
        return QuantileConfig(N=folder.model["vocab_size"])
    distribution = folder.arguments["d_class"]
    if distribution != "adacat":
        raise InputError(f"{folder.path} has the distribution {distribution}; only adacat is converted.")
    kind, coefficient = folder.model["smooth_type"], float(folder.model["smooth_coeff"])
    full_width = 2 if kind == "uniform" else 1  # a half width there
    return AdaCatConfig(n_bins=folder.model["param_size"] // 2, smooth_coeff=full_width * coefficient, smooth_type=kind)


def model_form(folder: TrainingFolder, config: TrainConfig) -> GPTConfig:
    """Return the form of the model.

    Raises:
        InputError: if its sizes contradict each other.
        KeyError: if one is missing.
    """
    spec = TransitionSpec(folder.model["observation_dim"], folder.model["action_dim"])
    form = GPTConfig.sized(config.model, spec, config.data.subsampled_sequence_length)
    if (form.block_size, form.width) != (folder.model["block_size"], folder.model["n_embd"]):
        raise InputError(f"The sizes in {folder.path}/model_config.pkl contradict those of the data.")
    return form


def likelihood_gain(model: GPT, windows: SequenceDataset) -> float:
    """Return the mean log-likelihood of a token, in nats, above that of equal logits, on evenly spaced windows.

    Equal logits give each bin of the quantile baseline the same mass, and AdaCat a uniform density.
    """
    chosen = torch.linspace(0, len(windows) - 1, min(N_COMPARED, len(windows))).long()
    batch = windows.batch(chosen)
    inputs, targets, mask = batch.tokens[:, :-1], batch.tokens[:, 1:], batch.mask[:, 1:]
    with torch.inference_mode():
        hidden = model.hidden(inputs)
        gains = model.head.distribution(hidden).log_prob(targets)
        gains -= model.head.distribution(torch.zeros_like(hidden)).log_prob(targets)
    return float(gains[mask].mean())


def _rows_of_training(
    folder: TrainingFolder, config: DataConfig, spec: TransitionSpec, dataset: Dataset
) -> Trajectories:
    if dataset.file is None:
        raise InputError(f"{dataset.name} is not one file in D4RL's format, as the data of such trainings are.")
    episode = dataset.episodes[0]
    found = TransitionSpec(episode.observations.shape[1], episode.actions.shape[1])
    if found != spec:
        raise InputError(
            f"{folder.path} was trained on observations and actions of sizes {spec.observation_size} and "
            f"{spec.action_size}, but {dataset.label} has {found.observation_size} and {found.action_size}."
        )
    penalty = config.termination_penalty
    assert penalty != "auto"
    return joined_rows(dataset.file, spec.observation_size, config.discount, penalty)


def _scale(head: HeadConfig, rows: Tensor) -> tuple[MinMaxNormalizer, Tensor | None]:
    """Return the bounds, and the edges of fixed bins."""
    if not isinstance(head, QuantileConfig):
        return bounds(rows), None
    thresholds = quantile_thresholds(rows, head.N)
    normalizer = bounds_of_thresholds(thresholds)
    return normalizer, normalized_edges(thresholds, normalizer)


def _check_count(folder: TrainingFolder, n_windows: int, n_trained: int) -> None:
    if n_windows != n_trained:
        raise InputError(
            f"{folder.path} was trained on {n_trained} windows, but the dataset has {n_windows}: it is not the dataset "
            "of the training, or another version of it."
        )


def _notes(folder: TrainingFolder, head: HeadConfig) -> list[str]:
    notes = []
    if isinstance(head, QuantileConfig):
        notes.append(
            "removed the stop token's output: the other bins share its probability, and rewards and values are means "
            "over them alone"
        )
    if folder.average is None:
        notes.append("the training kept no moving average: --use_ema plans with the same weights")
    return notes
