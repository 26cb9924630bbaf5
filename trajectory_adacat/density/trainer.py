"""The training loop of all density models: steps, model selection, logs, checkpoints, bit-exact resumption."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from trajectory_adacat.checkpoint import checkpoint_name, read_tensors, write_checkpoint
from trajectory_adacat.density.checkpoint import AVERAGE, BEST, KIND, TRAINING, WEIGHTS, read_density
from trajectory_adacat.density.config import DensityTrainerConfig
from trajectory_adacat.density.objective import DensityObjective
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.training.config import BasicRunConfig
from trajectory_adacat.training.ema import make_ema
from trajectory_adacat.training.finite import check_finite
from trajectory_adacat.training.interruption import Interruption, save_and_leave
from trajectory_adacat.training.logger import MetricsLogger
from trajectory_adacat.training.optimizer import (
    load_optimizer_state,
    make_optimizers,
    optimizer_state,
    scale_learning_rates,
)
from trajectory_adacat.training.trainer import check_serializable, read_progress

Held = Callable[[], AbstractContextManager[None]]  # lets a signal wait for the end of a block


class DensityTrainer:
    """Train a density model, and keep the weights with the best validation likelihood.

    The moving average of the weights is evaluated on the validation split at every logged step. The test split is
    evaluated by `test` alone.

    Args:
        objective: the model and its data.
        config: settings of the optimization.
        run: how the training runs.
        folder: folder of checkpoints and logs.
        description: JSON-serializable description saved in each checkpoint; see `checkpoint.TRAINED`.
        verbose: show a progress bar.

    Attributes:
        step: number of steps done.
        best_step: step of the best weights; 0 before the first evaluation.
        best_nll: their validation negative log-likelihood.
        seconds: time of the training so far: ``wall``, and ``cpu``, that of this process.

    Raises:
        InputError: if the description cannot be written.
    """

    def __init__(
        self,
        objective: DensityObjective,
        config: DensityTrainerConfig,
        run: BasicRunConfig,
        folder: Path,
        description: dict[str, Any],
        verbose: bool = True,
    ) -> None:
        check_serializable(description)
        self.objective, self.config, self.run, self.folder = objective, config, run, folder
        self.model, self.description, self.verbose = objective.model, description, verbose
        self.n_steps = config.total_steps(objective.n_examples)
        self.step, self.best_step, self.best_nll = 0, 0, float("inf")
        self.seconds = {"wall": 0.0, "cpu": 0.0}
        self._ema = make_ema(self.model, config.ema_decay)
        self._best = copy.deepcopy(self.model.state_dict())
        self._optimizers = make_optimizers(self.model, config.optimizer)
        self._order: tuple[int, Tensor] | None = None  # of the current epoch
        self._loss: float | Tensor = 0.0  # of the last step
        self._unlogged: dict[str, float] | None = None  # numbers of a step whose line is still to be written
        torch.manual_seed(run.seed)
        self._random_state = torch.get_rng_state()  # of the last whole step

    def train(self) -> None:
        """Run the remaining steps, with logs in ``metrics.jsonl`` and checkpoints.

        Raises:
            InputError: if loss, gradient or likelihood are not finite at a step to log or save; that step is neither
                logged nor saved.
            Interrupted: after SIGINT and SIGTERM; the current step is saved first.
        """
        saved_steps = self.run.saved_steps(self.n_steps)
        with (
            Interruption() as interruption,
            MetricsLogger(self.folder, self._logged_step, self.run.wandb, self.description) as logger,
            self._progress_bar() as progress,
        ):
            held = interruption.held
            self._random_state = torch.get_rng_state()
            try:
                if self._unlogged is not None:  # an interruption came before the evaluation of the checkpoint's step
                    self._log(logger, progress, held)
                    with held():
                        self.save(replaces=True)
                while self.step < self.n_steps:
                    self._train_step(held)
                    progress.update()
                    self._log(logger, progress, held)
                    if self.step in saved_steps:
                        with held():
                            self.save()
            except Interrupted as interrupted:
                torch.set_rng_state(self._random_state)
                raise save_and_leave(interrupted, self.folder, self.step, self.n_steps, self.save) from None

    def best_model(self) -> nn.Module:
        """Return a copy of the model with the best weights, in evaluation mode."""
        model = copy.deepcopy(self.model).eval()
        model.load_state_dict(self._best)
        return model

    def test(self) -> float:
        """Return the negative log-likelihood of the test split under the best weights; call it once, at the end."""
        with torch.no_grad():
            return self.objective.negative_log_likelihood(self.best_model(), "test")

    def save(self, replaces: bool = False) -> None:
        """Write a checkpoint of the current step; ``replaces`` the one that is there.

        Raises:
            InputError: if the loss of the step is not finite.
        """
        check_finite({"loss": self._loss}, self.step)
        description = {**self.description, "n_steps": self.n_steps, "step": self.step, "seconds": self.seconds}
        description |= {"best_step": self.best_step, "best_validation": self.best_nll if self.best_step else None}
        if self._unlogged is not None:  # an interruption came before the evaluation
            description["unlogged"] = self._unlogged
        tensors: dict[str, Mapping[str, Tensor]] = {
            WEIGHTS: self.model.state_dict(),
            AVERAGE: self._ema.module.state_dict(),
            BEST: self._best,
            TRAINING: self._training_state(),
        }
        write_checkpoint(self.folder / checkpoint_name(self.step), tensors, {"kind": KIND, **description}, replaces)

    def resume(self) -> None:
        """Load the latest checkpoint of the folder; resumption is bit-exact on CPUs.

        Raises:
            InputError: if there is none, or its weights do not fit the model.
        """
        folder, found = read_density(self.folder)
        weights, average, best, state = (
            read_tensors(folder, name, found) for name in (WEIGHTS, AVERAGE, BEST, TRAINING)
        )
        try:
            self.model.load_state_dict(weights)
            self._ema.module.load_state_dict(average)
        except RuntimeError as error:
            raise InputError(f"The checkpoint to --resume holds another model: {error}") from error
        _, self._unlogged = read_progress(found)
        self._best = best
        self._ema.n_averaged.copy_(state["n_averaged"])
        load_optimizer_state(self._optimizers, self.model, state)
        torch.set_rng_state(state["rng"])
        self.step, self.best_step, self.seconds = found["step"], found["best_step"], found["seconds"]
        self.best_nll = float("inf") if found["best_validation"] is None else found["best_validation"]

    def _training_state(self) -> dict[str, Tensor]:
        rng = {"rng": torch.get_rng_state(), "n_averaged": self._ema.n_averaged}
        return {**rng, **optimizer_state(self._optimizers, self.model)}

    def _train_step(self, held: Held) -> None:
        with self._timed():
            factor = self.config.learning_rate_factor((self.step + 0.5) / self.n_steps)
            scale_learning_rates(self._optimizers, factor)
            self.model.train()
            self.model.zero_grad(set_to_none=True)
            loss = self.objective.loss(self._batch(), self.step / self.n_steps)
            loss.backward()
            learning_rate = self.config.optimizer.learning_rate * factor
            metrics: dict[str, float | Tensor] = {"loss": loss.detach(), "learning_rate": learning_rate}
            if self.config.grad_norm_clip is not None:
                norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
                metrics["gradient_norm"] = norm
            with held():
                for optimizer in self._optimizers:
                    optimizer.step()
                self._ema.update_parameters(self.model)
                self.step += 1
                self._loss = metrics["loss"]
                if self.step % self.run.log_freq == 0 or self.step == self.n_steps:
                    self._unlogged = {name: float(value) for name, value in metrics.items()}
                self._random_state = torch.get_rng_state()

    def _log(self, logger: MetricsLogger, progress: tqdm, held: Held) -> None:
        """Evaluate the moving average and write the line of the last step, if it is to be logged."""
        if self._unlogged is None:
            return
        check_finite({"loss": self._unlogged["loss"]}, self.step)
        with self._timed():
            model = self._ema.module.eval()
            with torch.no_grad():
                found = self.objective.negative_log_likelihood(model, "validation")
        check_finite({"validation negative log-likelihood": found}, self.step)
        with held():
            if found < self.best_nll:
                self.best_step, self.best_nll, self._best = self.step, found, copy.deepcopy(model.state_dict())
            progress.set_postfix_str(f"loss {self._unlogged['loss']:.3f}; validation {found:.3f}")
            validation = {"validation": found, "best_validation": self.best_nll}
            logger.log(self.step, {**self._unlogged, **validation, **_prefixed("seconds", self.seconds)})
            self._unlogged = None

    @property
    def _logged_step(self) -> int:
        """The step up to which the lines of the log are final."""
        return self.step - (self._unlogged is not None)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Add the time of a block to `seconds`."""
        clocks = time.perf_counter(), time.process_time()
        yield
        self.seconds["wall"] += time.perf_counter() - clocks[0]
        self.seconds["cpu"] += time.process_time() - clocks[1]

    def _batch(self) -> Tensor:
        """Return the indices of the next step's examples.

        They depend on seed and step alone, so a resumed run takes the same ones.
        """
        n, size = self.objective.n_examples, self.config.batch_size
        epoch, index = divmod(self.step, self.config.steps_per_epoch(n))
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.run.seed * 1_000_003 + epoch)
            self._order = (epoch, torch.randperm(n, generator=generator))
        return self._order[1][index * size : (index + 1) * size]

    def _progress_bar(self) -> tqdm:
        return tqdm(total=self.n_steps, initial=self.step, desc="train", unit="step", disable=not self.verbose)


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
