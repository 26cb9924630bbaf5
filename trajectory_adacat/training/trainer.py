"""The training loop: batches, optimizer steps, evaluation, logging, checkpoints and bit-exact resumption."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from trajectory_adacat.checkpoint import checkpoint_name, save_checkpoint
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import LossConfig, group_likelihoods, sequence_loss
from trajectory_adacat.training.ema import make_average
from trajectory_adacat.training.logger import MetricsLogger
from trajectory_adacat.training.optimizer import (
    OptimizerKind,
    ScheduleEnd,
    load_optimizer_state,
    make_optimizers,
    optimizer_state,
    rate_multiplier,
    set_rate,
)

N_EVALUATION_WINDOWS = 512
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class TrainerConfig:
    """How to train (supplementary C.3, Trajectory Transformer's settings).

    Attributes:
        n_steps: optimizer steps in all.
        batch_size: windows in a step.
        optimizer: "adamw", or "muon" for the blocks' matrices and AdamW for the rest (not the paper's).
        learning_rate: AdamW's highest.
        muon_learning_rate: Muon's highest.
        weight_decay: on matrices only.
        beta1, beta2: AdamW's.
        grad_norm_clip: the gradient's norm is clipped to this.
        lr_decay: whether the rate follows the warm-up and the cosine, or stays.
        warmup_epochs: length of the warm-up, in epochs' tokens.
        final_epochs: where the cosine ends, in epochs' tokens; None for the end of the training.
        lr_schedule_end: what the rate does after that.
        ema_decay: of the moving average of the weights.
        log_freq: steps between two log lines.
        n_saves: checkpoints in all, evenly spaced, the last at the end.
        seed: of the batches' order and of the dropout.

    Raises:
        InputError: for a value out of range.
    """

    n_steps: int
    batch_size: int = 256
    optimizer: OptimizerKind = "adamw"
    learning_rate: float = 6e-4
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_norm_clip: float = 1.0
    lr_decay: bool = True
    warmup_epochs: float = 1.0
    final_epochs: float | None = 20.0
    lr_schedule_end: ScheduleEnd = "hold"
    ema_decay: float = 0.995
    log_freq: int = 100
    n_saves: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("n_steps", "batch_size", "learning_rate", "muon_learning_rate", "grad_norm_clip", "log_freq")
        for name in (*positive, "n_saves"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be finite and above 0, got {getattr(self, name)}.")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        for name in ("weight_decay", "warmup_epochs", "final_epochs"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name} must be finite and not negative, got {value}.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed must lie between 0 and {LARGEST_SEED}, got {self.seed}.")
        for name, known in (("optimizer", OptimizerKind), ("lr_schedule_end", ScheduleEnd)):
            if getattr(self, name) not in get_args(known):
                raise InputError(f"{name} must be one of {', '.join(get_args(known))}, got {getattr(self, name)!r}.")

    def saved_steps(self) -> set[int]:
        """The steps after which a checkpoint is written."""
        return {self.n_steps * (i + 1) // self.n_saves for i in range(self.n_saves)} - {0}


class Trainer:
    """Trains a model.

    Args:
        model: on its device.
        training: windows to train on.
        held_out: windows to evaluate on, None for none.
        normalizer: of the training data, to be saved with the model.
        loss: what to minimize.
        config: how.
        folder: where checkpoints and logs go.
        description: what each checkpoint is to say beside the state.
        verbose: show a progress bar.
    """

    def __init__(
        self,
        model: GPT,
        training: SequenceDataset,
        held_out: SequenceDataset | None,
        normalizer: MinMaxNormalizer,
        loss: LossConfig,
        config: TrainerConfig,
        folder: Path,
        description: dict[str, Any],
        verbose: bool = True,
    ) -> None:
        self.model, self.loss, self.config, self.folder = model, loss, config, folder
        self.training, self.held_out, self.normalizer = training, held_out, normalizer
        self.description, self.verbose = description, verbose
        self.average = make_average(model, config.ema_decay)
        self.optimizers = make_optimizers(
            model,
            config.optimizer,
            config.learning_rate,
            config.muon_learning_rate,
            (config.beta1, config.beta2),
            config.weight_decay,
        )
        self.step = 0
        self._batch_size = min(config.batch_size, len(training))
        self._steps_per_epoch = len(training) // self._batch_size
        self._order: tuple[int, Tensor] | None = None
        torch.manual_seed(config.seed)

    def train(self) -> None:
        """Runs the steps that remain, logging to the folder's ``metrics.jsonl`` and saving checkpoints.

        Raises:
            InputError: if the loss or its gradient is found not to be finite; it is neither logged nor saved.
        """
        saved_steps = self.config.saved_steps()
        with MetricsLogger(self.folder, self.step) as logger, self._progress() as progress:
            started, first = time.perf_counter(), self.step
            for batch in self._batches():
                metrics = self._train_step(batch)
                progress.update()
                is_logged = self.step % self.config.log_freq == 0 or self.step == self.config.n_steps
                if is_logged or self.step in saved_steps:
                    self._check_finite(metrics)
                if is_logged:
                    metrics |= self._evaluate(batch)
                    metrics["seconds_per_step"] = (time.perf_counter() - started) / (self.step - first)
                    logger.log(self.step, metrics)
                    progress.set_postfix_str(_summary(metrics))
                if self.step in saved_steps:
                    self.save()

    @property
    def averaged(self) -> GPT:
        """The model with the moving average of the weights."""
        return cast(GPT, self.average.module)

    def save(self) -> None:
        """Writes a checkpoint of the current step."""
        description = {**self.description, "step": self.step}
        folder = self.folder / checkpoint_name(self.step)
        save_checkpoint(folder, self.model, self.averaged, self.normalizer, self._training_state(), description)

    def load_state(
        self, step: int, weights: dict[str, Tensor], ema: dict[str, Tensor], state: dict[str, Tensor]
    ) -> None:
        """Takes up the training of a checkpoint of ``step``; on a CPU the steps that follow are the same bits.

        Raises:
            InputError: if the weights are those of another model.
        """
        try:
            self.model.load_state_dict(weights)
            self.averaged.load_state_dict(ema)
        except RuntimeError as error:
            raise InputError(f"The checkpoint to --resume holds another model: {error}") from error
        self.average.n_averaged.copy_(state["n_averaged"])
        load_optimizer_state(self.optimizers, self.model, state)
        torch.set_rng_state(state["rng"])
        self.step = step

    def _training_state(self) -> dict[str, Tensor]:
        own = {"rng": torch.get_rng_state(), "n_averaged": self.average.n_averaged}
        return {**own, **optimizer_state(self.optimizers, self.model)}

    def _batches(self) -> Iterator[Batch]:
        while self.step < self.config.n_steps:
            epoch, index = divmod(self.step, self._steps_per_epoch)
            windows = self._epoch_order(epoch)[index * self._batch_size : (index + 1) * self._batch_size]
            yield self.training.batch(windows)

    def _epoch_order(self, epoch: int) -> Tensor:
        """The windows of an epoch in their order, a function of seed and epoch alone, so that a resumed run agrees."""
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.training), generator=generator).to(self.training.tokens.device)
            self._order = (epoch, order)
        return self._order[1]

    def _train_step(self, batch: Batch) -> dict[str, float | Tensor]:
        rate = self._set_rate()
        self.model.train()
        loss = sequence_loss(self.model(batch.tokens[:, :-1]), batch.tokens, batch.mask, self.model.spec, self.loss)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return {"loss": loss.detach(), "gradient_norm": norm.detach(), "learning_rate": rate}

    def _check_finite(self, metrics: dict[str, float | Tensor]) -> None:
        norm = torch.nn.utils.get_total_norm(self.model.parameters()).detach()
        found = {"loss": metrics["loss"], "gradient's norm": metrics["gradient_norm"], "weights' norm": norm}
        for name, value in found.items():
            if not math.isfinite(value):
                raise InputError(
                    f"The {name} is {float(value)} at step {self.step}: a lower --learning_rate may help. "
                    "Earlier checkpoints are kept."
                )

    def _set_rate(self) -> float:
        config = self.config
        tokens_per_window = self.training.length * self.model.spec.dimension - 1
        epoch_tokens = len(self.training) * tokens_per_window
        step_tokens = self._batch_size * tokens_per_window
        end = config.n_steps * step_tokens if config.final_epochs is None else config.final_epochs * epoch_tokens
        multiplier = 1.0
        if config.lr_decay:
            seen = (self.step + 1) * step_tokens
            multiplier = rate_multiplier(seen, config.warmup_epochs * epoch_tokens, end, config.lr_schedule_end)
        set_rate(self.optimizers, multiplier)
        return config.learning_rate * multiplier

    def _evaluate(self, batch: Batch) -> dict[str, float]:
        """Exact likelihoods by group: of the last batch, and of the held-out windows, raw and averaged weights."""
        metrics = _named("train", likelihoods(self.model, [batch]))
        if self.held_out is not None:
            held_out = list(evaluation_batches(self.held_out, self._batch_size))
            metrics |= _named("held_out", likelihoods(self.model, held_out))
            metrics |= _named("held_out_ema", likelihoods(self.averaged, held_out))
        return metrics

    def _progress(self) -> tqdm:
        return tqdm(total=self.config.n_steps, initial=self.step, desc="train", unit="step", disable=not self.verbose)


def evaluation_batches(dataset: SequenceDataset, batch_size: int) -> Iterator[Batch]:
    """At most `N_EVALUATION_WINDOWS` windows, evenly spaced over the dataset."""
    n_windows = min(N_EVALUATION_WINDOWS, len(dataset))
    windows = torch.linspace(0, len(dataset) - 1, n_windows, device=dataset.tokens.device).long()
    for chunk in windows.split(batch_size):
        yield dataset.batch(chunk)


@torch.no_grad()
def likelihoods(model: GPT, batches: list[Batch]) -> dict[str, float]:
    """The exact negative log-likelihood of each group and of all dimensions, in nats per dimension of [0, 1]."""
    model.eval()
    totals: dict[str, list[Tensor]] = {}
    for batch in batches:
        distribution = model(batch.tokens[:, :-1])
        for name, (total, count) in group_likelihoods(distribution, batch.tokens, batch.mask, model.spec).items():
            sums = totals.setdefault(name, [torch.zeros((), dtype=torch.float64) for _ in range(2)])
            sums[0] += total.double().cpu()
            sums[1] += count.double().cpu()
    means = {name: float(total / count) for name, (total, count) in totals.items()}
    overall = sum(total for total, _ in totals.values()) / sum(count for _, count in totals.values())
    return {**means, "all": float(overall)}


def _named(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _summary(metrics: dict[str, Any]) -> str:
    shown = [f"loss {float(metrics['loss']):.2f}"]
    kind = "held_out" if "held_out/all" in metrics else "train"
    shown += [f"{name[:3]} {metrics[f'{kind}/{name}']:.2f}" for name in ("all", "action")]
    return f"{kind.replace('_', '-')} nll: " + ", ".join(shown[1:]) + f"; {shown[0]}"
