"""Training loop: batches, optimizer steps, evaluation, logging, checkpoints and bit-exact resumption."""

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from trajectory_adacat.checkpoint import checkpoint_name, save_checkpoint
from trajectory_adacat.checks import fits
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.errors import CheckpointError, InputError, Interrupted
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.settings import to_nested
from trajectory_adacat.training.bad_batches import BadBatches
from trajectory_adacat.training.config import RunConfig, TrainerConfig
from trajectory_adacat.training.distributed import SINGLE_PROCESS, World
from trajectory_adacat.training.ema import make_ema
from trajectory_adacat.training.evaluation import evaluation_batches, negative_log_likelihoods
from trajectory_adacat.training.finite import check_finite
from trajectory_adacat.training.interruption import Interruption, save_and_leave
from trajectory_adacat.training.logger import MetricsLogger
from trajectory_adacat.training.objective import Objective
from trajectory_adacat.training.optimizer import (
    learning_rate_factor,
    load_optimizer_state,
    make_optimizers,
    optimizer_state,
    scale_learning_rates,
)
from trajectory_adacat.training.progress import Progress

Held = Callable[[], AbstractContextManager[None]]  # what `Interruption.held` is


class Trainer:
    """Train a model.

    Args:
        model: model on its device.
        training: training windows.
        held_out: windows to evaluate on; None for none.
        normalizer: normalizer of the training data, saved with the model.
        loss: settings of the loss.
        config: settings of the training.
        run: how the training runs, without an effect on the method.
        folder: folder of checkpoints and logs.
        description: JSON-serializable description saved in each checkpoint.
        verbose: show a progress bar.
        world: processes of a data-parallel training. Each makes a trainer with the same arguments except the device.
        references: numbers to log in every line beside the metrics, so that plots of the log draw them as lines.

    Raises:
        InputError: if a batch has fewer windows than there are processes, or the description cannot be written.
    """

    def __init__(
        self,
        model: GPT,
        training: SequenceDataset,
        held_out: SequenceDataset | None,
        normalizer: MinMaxNormalizer,
        loss: LossConfig,
        config: TrainerConfig,
        run: RunConfig,
        folder: Path,
        description: dict[str, Any],
        verbose: bool = True,
        world: World = SINGLE_PROCESS,
        references: Mapping[str, float] | None = None,
    ) -> None:
        self.references = references or {}
        self.model, self.config, self.run, self.folder = model, config, run, folder
        self.training, self.held_out, self.normalizer = training, held_out, normalizer
        self.description, self.verbose, self.world = description, verbose, world
        check_serializable({"model": to_nested(model.config), **description})
        self.step = 0
        self._objective = Objective(model, loss, config.precision, run.compile)
        self._ema = make_ema(model, config.ema_decay)
        self._optimizers = make_optimizers(model, config.optimizer)
        self.n_steps = config.total_steps(len(training))
        self._batch_size = min(config.batch_size, len(training))
        self._steps_per_epoch = config.steps_per_epoch(len(training))
        self._permutation: tuple[int, Tensor] | None = None  # of the current epoch
        self._bad_batches = BadBatches(folder, run.skip_bad_batches, "window")
        self._checks_each_step = model.device.type == "cpu" or run.skip_bad_batches > 0  # else a GPU would wait
        self._first_bad_step = torch.full((), torch.inf, device=model.device)
        self._unlogged: dict[str, float] | None = None  # numbers of a step whose line is still to be written
        self._random_state = torch.get_rng_state()  # of the last whole step
        self._started = time.perf_counter(), 0  # time and step at which `train` was called
        self._batches: list[Batch] = []  # this rank's shard of the last batch
        if self._batch_size < world.size:
            raise InputError(
                f"A batch of {self._batch_size} sequences cannot be shared by {world.size} processes: start fewer of "
                "them, or pass a larger --batch_size."
            )
        torch.manual_seed(_dropout_seed(run.seed, world.rank, self.step))

    def train(self, after_step: Callable[[], object] | None = None) -> None:
        """Run the remaining steps, with logs in ``metrics.jsonl`` and checkpoints.

        A signal ends the training of a single process: it saves a checkpoint of its step first.

        Args:
            after_step: called after each optimizer step.

        Raises:
            InputError: if the loss or gradient of a batch that is not left out, or the weights at a step to log or
                save, are not finite; that step is neither logged nor saved.
            Interrupted: after SIGINT and SIGTERM.
        """
        saved_steps = self.run.saved_steps(self.n_steps)
        with ExitStack() as stack:
            held = stack.enter_context(Interruption(active=self.world.size == 1)).held
            logger = stack.enter_context(self._logger()) if self.world.is_rank0 else None
            progress = stack.enter_context(self._progress())
            self._started = time.perf_counter(), self.step
            self._random_state = torch.get_rng_state()
            try:
                if self._unlogged is not None:  # an interruption came before the evaluation of the checkpoint's step
                    self._log(logger, progress, held)
                    with held():
                        self.save(replaces=True)
                while self.step < self.n_steps:
                    self._train_step(held)
                    progress.update()
                    if after_step is not None:
                        after_step()
                    if self._unlogged is not None or self.step in saved_steps:
                        with self.world.raise_everywhere():
                            self._check_finite()
                    self._log(logger, progress, held)
                    if self.step in saved_steps:
                        with held():
                            self.save()
            except Interrupted as interrupted:
                torch.set_rng_state(self._random_state)
                raise save_and_leave(interrupted, self.folder, self.step, self.n_steps, self.save) from None

    def _log(self, logger: MetricsLogger | None, progress: Progress, held: Held) -> None:
        """Evaluate and write the line of the last step, if it is to be logged and that is not done."""
        if self._unlogged is None:
            return
        if not self._batches:  # the step was done before the training was resumed
            self._batches = self._micro_batches(self._windows(self.step - 1))
        numbers = dict(self._unlogged)
        seconds = numbers.pop("seconds_per_step", 0.0)
        metrics = {**numbers, **self._evaluate(self._batches), **self.references}
        metrics["seconds_per_step"] = self._seconds_per_step() if self.step > self._started[1] else seconds
        with held():
            progress.show(_summary(metrics), *_watched(metrics))
            if logger is not None:
                logger.log(self.step, metrics)
            self._unlogged = None

    @property
    def _logged_step(self) -> int:
        """The step up to which the lines of the log are final."""
        return self.step - (self._unlogged is not None)

    def _seconds_per_step(self) -> float:
        start_time, start_step = self._started
        return (time.perf_counter() - start_time) / (self.step - start_step)

    @property
    def ema_model(self) -> GPT:
        """The model with EMA weights."""
        return cast(GPT, self._ema.module)

    def save(self, replaces: bool = False) -> None:
        """Write a checkpoint of the current step on rank 0; ``replaces`` the one that is there. All ranks call this."""
        state = self._training_state()
        if self.world.is_rank0:
            description = {**self.description, "n_steps": self.n_steps, "step": self.step}
            if self._bad_batches.steps:
                description["skipped_steps"] = self._bad_batches.steps
            if self._unlogged is not None:  # an interruption came before the line was written
                description["unlogged"] = self._unlogged
            folder = self.folder / checkpoint_name(self.step)
            save_checkpoint(folder, self.model, self.ema_model, self.normalizer, state, description, replaces)

    def load_state(
        self,
        step: int,
        weights: dict[str, Tensor],
        ema: dict[str, Tensor],
        state: dict[str, Tensor],
        description: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the checkpoint of ``step``; its ``description`` says which batches were left out, and what is unlogged.

        Resumption is bit-exact on CPUs with the same number of processes. Other cases differ in dropout: a rank without
        a saved random state, and every GPU, starts from a seed of this step, so that it does not repeat the numbers of
        the first steps.

        Raises:
            CheckpointError: if the weights do not fit the model.
        """
        rng_key = _rng_key(self.world.rank)
        try:
            self.model.load_state_dict(weights)
            self.ema_model.load_state_dict(ema)
            self._ema.n_averaged.copy_(state["n_averaged"])
            load_optimizer_state(self._optimizers, self.model, state)
            torch.manual_seed(_dropout_seed(self.run.seed, self.world.rank, step))
            if rng_key in state:
                torch.set_rng_state(state[rng_key])
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"The checkpoint to --resume holds another model: {error}") from error
        self.step = step
        self._bad_batches.steps, self._unlogged = read_progress(description or {})

    def _training_state(self) -> dict[str, Tensor]:
        rng_states = self.world.all_gather(torch.get_rng_state())
        by_rank = {_rng_key(rank): rng_state for rank, rng_state in enumerate(rng_states)}
        return {**by_rank, "n_averaged": self._ema.n_averaged, **optimizer_state(self._optimizers, self.model)}

    def _windows(self, step: int) -> Tensor:
        """Return the window indices ``[B]`` of the step that follows ``step`` others, for all ranks together.

        The last batch of an epoch holds the windows that are left.
        """
        epoch, index = divmod(step, self._steps_per_epoch)
        return self._epoch_permutation(epoch)[index * self._batch_size : (index + 1) * self._batch_size]

    def _micro_batches(self, windows: Tensor) -> list[Batch]:
        """Return this rank's shard of a batch, split for gradient accumulation.

        There is none where the last batch of an epoch has fewer windows than there are processes.
        """
        shard = self.world.shard(windows)
        n_parts = min(self.run.accumulate, len(shard))
        return [self.training.batch(part) for part in shard.tensor_split(n_parts)] if n_parts else []

    def _epoch_permutation(self, epoch: int) -> Tensor:
        """Return the order of an epoch's windows ``[n]``.

        It depends on seed and epoch alone, so a resumed run visits the same windows.
        """
        if self._permutation is None or self._permutation[0] != epoch:
            generator = torch.Generator().manual_seed(self.run.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.training), generator=generator).to(self.training.tokens.device)
            self._permutation = (epoch, order)
        return self._permutation[1]

    def _train_step(self, held: Held) -> None:
        """Update the model by the mean loss over the next batch of all ranks, unless it is not finite."""
        windows = self._windows(self.step)
        learning_rate = self._set_learning_rate()
        self.model.head.set_progress(self.step / self.n_steps)
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.model.device)
        self._batches = self._micro_batches(windows)
        for batch in self._batches:
            loss = self._objective(batch) * (len(batch.tokens) / len(windows))
            loss.backward()
            total += loss.detach()
        self._fill_missing_gradients()
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        self.world.all_reduce_sum_([total, *gradients])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
        with held():
            metrics = {"loss": total, "gradient_norm": norm.detach()}
            if self._is_good(metrics, windows):
                for optimizer in self._optimizers:
                    optimizer.step()
                self._ema.update_parameters(self.model)
            else:
                metrics = {}
            self.step += 1
            if self.step % self.run.log_freq == 0 or self.step == self.n_steps:
                numbers = {name: float(value) for name, value in metrics.items()}
                seconds = {"seconds_per_step": self._seconds_per_step()}
                self._unlogged = {**numbers, "learning_rate": learning_rate, **seconds}
            self._random_state = torch.get_rng_state()

    def _is_good(self, metrics: Mapping[str, Tensor], windows: Tensor) -> bool:
        """Return whether the numbers of the next step are finite, as far as that is known without waiting for a GPU.

        Raises:
            InputError: if they are not, and the batch may not be left out.
        """
        finite = torch.isfinite(metrics["loss"] + metrics["gradient_norm"])
        if not self._checks_each_step:
            step = torch.where(finite, torch.inf, float(self.step + 1))
            self._first_bad_step = torch.minimum(self._first_bad_step, step)
            return True
        if finite:
            return True
        self._record_bad(self.step + 1, metrics, windows)
        return False

    def _record_bad(self, step: int, metrics: Mapping[str, Tensor], windows: Tensor, leaves_out: bool = True) -> None:
        values = {name.replace("_", " "): float(value) for name, value in metrics.items()}
        with self.world.raise_everywhere():  # all ranks know the sums over all ranks
            if self.world.is_rank0:
                self._bad_batches.record(step, values, windows.tolist(), leaves_out)

    def _fill_missing_gradients(self) -> None:
        """Set the missing gradients to 0 where several processes sum them: one without windows has none."""
        for parameter in self.model.parameters() if self.world.size > 1 else ():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _check_finite(self) -> None:
        if bool(self._first_bad_step.isfinite()):
            step = int(self._first_bad_step)
            self._record_bad(step, {"loss": torch.tensor(torch.nan)}, self._windows(step - 1), leaves_out=False)
        weight_norm = torch.nn.utils.get_total_norm(self.model.parameters()).detach()
        check_finite({"weight norm": weight_norm}, self.step)

    def _set_learning_rate(self) -> float:
        """Set the learning rates of the next step and return AdamW's."""
        config = self.config
        epoch_tokens = len(self.training) * (self.training.length * self.model.spec.dimension - 1)
        end = self._n_tokens(self.n_steps) if config.final_epochs is None else config.final_epochs * epoch_tokens
        factor = 1.0
        if config.lr_decay:
            warmup_tokens = config.warmup_epochs * epoch_tokens
            factor = learning_rate_factor(self._n_tokens(self.step + 1), warmup_tokens, end, config.lr_schedule_end)
        scale_learning_rates(self._optimizers, factor)
        return config.optimizer.learning_rate * factor

    def _n_tokens(self, step: int) -> float:
        """Return the number of tokens that the first ``step`` steps predict, padding left out, as in the paper's code.

        It is the expected number, which is exact at the end of an epoch.
        """
        epochs, index = divmod(step, self._steps_per_epoch)
        n_windows = epochs * len(self.training) + index * self._batch_size
        return n_windows * self.training.n_targets / len(self.training)

    def _evaluate(self, micro_batches: list[Batch]) -> dict[str, float]:
        """Return negative log-likelihoods of the last batch, and of the held-out windows with raw and EMA weights."""
        metrics = _prefixed("train", negative_log_likelihoods(self.model, micro_batches, self.world))
        if self.held_out is not None:
            micro_batch_size = math.ceil(self._batch_size / (self.world.size * self.run.accumulate))
            held_out = list(evaluation_batches(self.held_out, micro_batch_size, self.world))
            metrics |= _prefixed("held_out", negative_log_likelihoods(self.model, held_out, self.world))
            metrics |= _prefixed("held_out_ema", negative_log_likelihoods(self.ema_model, held_out, self.world))
        return metrics

    def _logger(self) -> MetricsLogger:
        return MetricsLogger(self.folder, self._logged_step, self.run.wandb, self.description)

    def _progress(self) -> Progress:
        is_shown = self.verbose and self.world.is_rank0
        return Progress(self.n_steps, self.step, "train", is_shown, self.run.watch)


def read_progress(description: Mapping[str, Any]) -> tuple[list[int], dict[str, float] | None]:
    """Return the steps whose batches were left out before a checkpoint, and the numbers of its step if unlogged.

    Raises:
        CheckpointError: if they have other types.
    """
    skipped, unlogged = description.get("skipped_steps", []), description.get("unlogged")
    if not fits(skipped, list[int]) or not fits(unlogged, dict[str, float] | None):
        raise CheckpointError("The checkpoint to --resume has 'skipped_steps' or 'unlogged' of another type.")
    return skipped, unlogged


def check_serializable(description: Mapping[str, Any], prefix: str = "") -> None:
    """Check before the first step that a checkpoint can hold a description.

    Raises:
        InputError: naming the key whose value JSON cannot hold.
    """
    for key, value in description.items():
        if isinstance(value, Mapping):
            check_serializable(value, f"{prefix}{key}.")
            continue
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            name = f"{prefix}{key}"
            raise InputError(f"A checkpoint cannot hold {name} = {value!r} ({error}): it is not JSON.") from error


def _dropout_seed(seed: int, rank: int, step: int) -> int:
    """Return ``seed`` for rank 0 at step 0, else a hash of all three: 32 bits, the limit of torch's CPU generator."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0]) if rank or step else seed


def _rng_key(rank: int) -> str:
    return "rng" if rank == 0 else f"rng_{rank}"


def _prefixed(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _watched(metrics: Mapping[str, Any]) -> tuple[str, float]:
    """Return the metric to watch, with its name: the held-out likelihood, that of the batch where none is held out."""
    name = next(name for name in ("held_out_ema/all", "train/all") if name in metrics)
    return {"held_out_ema/all": "held-out nll", "train/all": "train nll"}[name], float(metrics[name])


def _summary(metrics: Mapping[str, Any]) -> str:
    """Return the progress bar's text, such as ``held-out nll: all -1.02, act -0.53; loss -0.98``."""
    kind = "held_out" if "held_out/all" in metrics else "train"
    values = ", ".join(f"{name[:3]} {metrics[f'{kind}/{name}']:.2f}" for name in ("all", "action"))
    return f"{kind.replace('_', '-')} nll: {values}; loss {metrics.get('loss', math.nan):.2f}"
