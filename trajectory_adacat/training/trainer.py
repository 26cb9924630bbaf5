"""The training loop: batches, optimizer steps, evaluation, logging, checkpoints and bit-exact resumption."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from trajectory_adacat.checkpoint import checkpoint_name, save_checkpoint
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import Batch, SequenceDataset
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.training.config import RunConfig, TrainerConfig
from trajectory_adacat.training.distributed import World
from trajectory_adacat.training.ema import make_average
from trajectory_adacat.training.evaluation import evaluation_batches, likelihoods
from trajectory_adacat.training.logger import MetricsLogger
from trajectory_adacat.training.objective import Objective
from trajectory_adacat.training.optimizer import (
    load_optimizer_state,
    make_optimizers,
    optimizer_state,
    rate_multiplier,
    set_rate,
)


class Trainer:
    """Trains a model.

    Args:
        model: on its device.
        training: windows to train on.
        held_out: windows to evaluate on, None for none.
        normalizer: of the training data, to be saved with the model.
        loss: what to minimize.
        config: how.
        run: how the training runs, without an effect on the method.
        folder: where checkpoints and logs go.
        description: what each checkpoint is to say beside the state.
        verbose: show a progress bar.
        world: the processes that train together, each with a trainer of the same arguments but for the device.

    Raises:
        InputError: if a batch has fewer windows than there are processes.
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
        world: World | None = None,
    ) -> None:
        self.model, self.config, self.run, self.folder = model, config, run, folder
        self.training, self.held_out, self.normalizer = training, held_out, normalizer
        self.description, self.verbose, self.world = description, verbose, world or World()
        self.objective = Objective(model, loss, config.precision, run.compile)
        self.average = make_average(model, config.ema_decay)
        self.optimizers = make_optimizers(model, config.optimizer)
        self.n_steps = config.total_steps(len(training))
        self.step = 0
        self._batch_size = min(config.batch_size, len(training))
        self._steps_per_epoch = len(training) // self._batch_size
        self._order: tuple[int, Tensor] | None = None
        if self._batch_size < self.world.size:
            raise InputError(
                f"A batch of {self._batch_size} sequences cannot be shared by {self.world.size} processes: start fewer "
                "of them, or pass a larger --batch_size."
            )
        torch.manual_seed(_dropout_seed(run.seed, self.world.rank, self.step))

    def train(self, after_step: Callable[[], object] | None = None) -> None:
        """Runs the steps that remain, logging to the folder's ``metrics.jsonl`` and saving checkpoints.

        Args:
            after_step: called after each optimizer step.

        Raises:
            InputError: if the loss or its gradient is found not to be finite; it is neither logged nor saved.
        """
        saved_steps = self.run.saved_steps(self.n_steps)
        with ExitStack() as stack:
            logger = stack.enter_context(MetricsLogger(self.folder, self.step)) if self.world.is_first else None
            progress = stack.enter_context(self._progress())
            started, first = time.perf_counter(), self.step
            for windows in self._windows():
                batches = self._parts(windows)
                metrics = self._train_step(batches, len(windows))
                progress.update()
                if after_step is not None:
                    after_step()
                is_logged = self.step % self.run.log_freq == 0 or self.step == self.n_steps
                if is_logged or self.step in saved_steps:
                    with self.world.together():
                        self._check_finite(metrics)
                if is_logged:
                    metrics |= self._evaluate(batches)
                    metrics["seconds_per_step"] = (time.perf_counter() - started) / (self.step - first)
                    progress.set_postfix_str(_summary(metrics))
                    if logger is not None:
                        logger.log(self.step, metrics)
                if self.step in saved_steps:
                    self.save()

    @property
    def averaged(self) -> GPT:
        """The model with the moving average of the weights."""
        return cast(GPT, self.average.module)

    def save(self) -> None:
        """Writes a checkpoint of the current step, in the first process."""
        state = self._training_state()
        if self.world.is_first:
            description = {**self.description, "step": self.step}
            folder = self.folder / checkpoint_name(self.step)
            save_checkpoint(folder, self.model, self.averaged, self.normalizer, state, description)

    def load_state(
        self, step: int, weights: dict[str, Tensor], ema: dict[str, Tensor], state: dict[str, Tensor]
    ) -> None:
        """Takes up the training of a checkpoint of ``step``; on a CPU the steps that follow are the same bits.

        The same number of processes is taken for granted: with others, dropout's random numbers differ. A process
        whose random state was not saved, and all on GPUs, draw numbers that are not those of the first steps.

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
        torch.manual_seed(_dropout_seed(self.run.seed, self.world.rank, step))
        if _random_state(self.world.rank) in state:
            torch.set_rng_state(state[_random_state(self.world.rank)])
        self.step = step

    def _training_state(self) -> dict[str, Tensor]:
        random_states = self.world.gather(torch.get_rng_state())
        by_rank = {_random_state(rank): random_state for rank, random_state in enumerate(random_states)}
        return {**by_rank, "n_averaged": self.average.n_averaged, **optimizer_state(self.optimizers, self.model)}

    def _windows(self) -> Iterator[Tensor]:
        """Each step's windows, of all processes together."""
        while self.step < self.n_steps:
            epoch, index = divmod(self.step, self._steps_per_epoch)
            yield self._epoch_order(epoch)[index * self._batch_size : (index + 1) * self._batch_size]

    def _parts(self, windows: Tensor) -> list[Batch]:
        """What this process computes of a step, one after another."""
        own = self.world.share(windows)
        return [self.training.batch(part) for part in own.tensor_split(min(self.run.accumulate, len(own)))]

    def _epoch_order(self, epoch: int) -> Tensor:
        """The windows of an epoch in their order, a function of seed and epoch alone, so that a resumed run agrees."""
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.run.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.training), generator=generator).to(self.training.tokens.device)
            self._order = (epoch, order)
        return self._order[1]

    def _train_step(self, parts: list[Batch], n_windows: int) -> dict[str, float | Tensor]:
        """A step by the mean loss over ``n_windows``, of which the processes' parts together consist."""
        rate = self._set_rate()
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.model.device)
        for part in parts:
            loss = self.objective(part) * (len(part.tokens) / n_windows)
            loss.backward()
            total += loss.detach()
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        self.world.add_up([total, *gradients])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return {"loss": total, "gradient_norm": norm.detach(), "learning_rate": rate}

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
        end = self.n_steps * step_tokens if config.final_epochs is None else config.final_epochs * epoch_tokens
        multiplier = 1.0
        if config.lr_decay:
            seen = (self.step + 1) * step_tokens
            multiplier = rate_multiplier(seen, config.warmup_epochs * epoch_tokens, end, config.lr_schedule_end)
        set_rate(self.optimizers, multiplier)
        return config.optimizer.learning_rate * multiplier

    def _evaluate(self, batches: list[Batch]) -> dict[str, float]:
        """Exact likelihoods by group: of the last batch, and of the held-out windows, raw and averaged weights."""
        metrics = _named("train", likelihoods(self.model, batches, self.world))
        if self.held_out is not None:
            held_out = list(evaluation_batches(self.held_out, len(batches[0].tokens), self.world))
            metrics |= _named("held_out", likelihoods(self.model, held_out, self.world))
            metrics |= _named("held_out_ema", likelihoods(self.averaged, held_out, self.world))
        return metrics

    def _progress(self) -> tqdm:
        is_silent = not (self.verbose and self.world.is_first)
        return tqdm(total=self.n_steps, initial=self.step, desc="train", unit="step", disable=is_silent)


def _dropout_seed(seed: int, rank: int, step: int) -> int:
    """The user's own for the first step of the first process; 32 bits, all that torch's generator of the CPU takes."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0]) if rank or step else seed


def _random_state(rank: int) -> str:
    return "rng" if rank == 0 else f"rng_{rank}"


def _named(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _summary(metrics: dict[str, Any]) -> str:
    shown = [f"loss {float(metrics['loss']):.2f}"]
    kind = "held_out" if "held_out/all" in metrics else "train"
    shown += [f"{name[:3]} {metrics[f'{kind}/{name}']:.2f}" for name in ("all", "action")]
    return f"{kind.replace('_', '-')} nll: " + ", ".join(shown[1:]) + f"; {shown[0]}"
