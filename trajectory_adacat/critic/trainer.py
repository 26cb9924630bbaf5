"""Training loop of a critic: a start on returns, then implicit Q-learning; logs, checkpoints, resumption."""

import copy
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from trajectory_adacat.checkpoint import checkpoint_name
from trajectory_adacat.critic.checkpoint import save_critic
from trajectory_adacat.critic.config import CriticConfig
from trajectory_adacat.critic.evaluation import evaluate
from trajectory_adacat.critic.losses import iql_losses, start_losses
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.critic.transitions import Batch, Transitions
from trajectory_adacat.errors import CheckpointError, Interrupted
from trajectory_adacat.training.bad_batches import BadBatches
from trajectory_adacat.training.config import OfflineRunConfig
from trajectory_adacat.training.finite import check_finite
from trajectory_adacat.training.interruption import Interruption, save_and_leave
from trajectory_adacat.training.logger import MetricsLogger
from trajectory_adacat.training.optimizer import load_optimizer_state, optimizer_state, scale_learning_rates
from trajectory_adacat.training.progress import Progress
from trajectory_adacat.training.trainer import check_serializable, read_progress

LOSSES = {"q_loss": "loss of Q", "v_loss": "loss of V"}  # in logs, and in messages


class CriticTrainer:
    """Train a critic.

    Args:
        critic: on its device, with its statistics set.
        training: training transitions.
        held_out: transitions to evaluate on; None for none.
        config: settings of the method.
        run: how the training runs.
        folder: folder of checkpoints and logs.
        description: JSON-serializable description saved in each checkpoint.
        verbose: show a progress bar.

    Raises:
        InputError: if the description cannot be written.
    """

    def __init__(
        self,
        critic: Critic,
        training: Transitions,
        held_out: Transitions | None,
        config: CriticConfig,
        run: OfflineRunConfig,
        folder: Path,
        description: dict[str, Any],
        verbose: bool = True,
    ) -> None:
        check_serializable(description)
        self.critic, self.config, self.run, self.folder = critic, config, run, folder
        self.description, self.verbose = description, verbose
        self.step = 0
        self._bad_batches = BadBatches(folder, run.skip_bad_batches, "transition")
        self._started = time.perf_counter(), 0  # time and step at which `train` was called
        self._training = Batch.encode(critic, training)
        self._held_out = None if held_out is None else Batch.encode(critic, held_out)
        device = critic.offset.device
        self._starts = None if held_out is None else held_out.starts.nonzero()[:, 0].to(device)
        self._target = copy.deepcopy(critic.q_networks).requires_grad_(False)
        self._averages: list[Tensor] = list(self._target.parameters())
        self._weights: list[Tensor] = list(critic.q_networks.parameters())
        # Without decay of the weights AdamW is Adam, IQL's optimizer; fused: one pass over each parameter.
        self._optimizer = AdamW(critic.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True)
        for group in self._optimizer.param_groups:
            group["peak_lr"] = group["lr"]

    def train(self) -> None:
        """Run the remaining steps, with logs in ``metrics.jsonl`` and checkpoints.

        Raises:
            InputError: if the loss of a batch that is not left out, or the weights at a step to log or save, are not
                finite; that step is neither logged nor saved.
            Interrupted: after SIGINT and SIGTERM; the current step is saved first.
        """
        n_steps = self.config.n_steps
        with (
            Interruption() as interruption,
            MetricsLogger(self.folder, self.step, self.run.wandb, self.description) as logger,
            Progress(n_steps, self.step, "critic", self.verbose, self.run.watch) as progress,
        ):
            self._started = time.perf_counter(), self.step
            try:
                while self.step < n_steps:
                    with interruption.held():  # steps are short
                        self._step_and_log(logger, progress)
            except Interrupted as interrupted:
                raise save_and_leave(interrupted, self.folder, self.step, n_steps, self.save) from None

    def _step_and_log(self, logger: MetricsLogger, progress: Progress) -> None:
        n_steps, is_saved = self.config.n_steps, self.step + 1 in self.run.saved_steps(self.config.n_steps)
        metrics = self._train_step()
        progress.update()
        is_logged = self.step % self.run.log_freq == 0 or self.step == n_steps
        if is_logged or is_saved:
            self._check_finite(metrics)
        if is_logged:
            start_time, start_step = self._started
            metrics |= self._evaluate()
            metrics["seconds_per_step"] = (time.perf_counter() - start_time) / (self.step - start_step)
            progress.show(_summary(metrics), *_watched(metrics))
            logger.log(self.step, metrics)
        if is_saved:
            self.save()

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        description = {**self.description, "n_steps": self.config.n_steps, "step": self.step}
        if self._bad_batches.steps:
            description["skipped_steps"] = self._bad_batches.steps
        save_critic(self.folder / checkpoint_name(self.step), self.critic, self._training_state(), description)

    def load_state(
        self,
        step: int,
        weights: dict[str, Tensor],
        state: dict[str, Tensor],
        description: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the checkpoint of ``step``; its ``description`` says which batches were left out.

        Resumption is bit-exact on CPUs.

        Raises:
            CheckpointError: if the weights do not fit the critic.
        """
        targets = {name.removeprefix("target/"): value for name, value in state.items() if name.startswith("target/")}
        try:
            self.critic.load_state_dict(weights)
            self._target.load_state_dict(targets)
            load_optimizer_state([self._optimizer], self.critic, state)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"The checkpoint to --resume holds another critic: {error}") from error
        self._bad_batches.steps, _ = read_progress(description or {})
        self.step = step

    def _training_state(self) -> dict[str, Tensor]:
        targets = {f"target/{name}": value for name, value in self._target.state_dict().items()}
        return {**targets, **optimizer_state([self._optimizer], self.critic)}

    def _train_step(self) -> dict[str, float | Tensor]:
        rows = self._batch_rows()
        batch = self._training.select(rows)
        factor = 0.5 * (1.0 + math.cos(math.pi * self.step / self.config.n_steps))
        scale_learning_rates([self._optimizer], factor)
        if self.step < self.config.mc_steps:
            q_loss, v_loss = start_losses(self.critic, batch)
        else:
            q_loss, v_loss = iql_losses(self.critic, self._target, batch, self.config.expectile)
        metrics: dict[str, float | Tensor] = {"q_loss": q_loss.detach(), "v_loss": v_loss.detach()}
        if self._is_good(metrics, rows):
            self._optimizer.zero_grad(set_to_none=True)
            (q_loss + v_loss).backward()
            self._optimizer.step()
            torch._foreach_lerp_(self._averages, self._weights, self.config.target_rate)
        else:
            metrics = {}
        self.step += 1
        return {**metrics, "learning_rate": self.config.learning_rate * factor}

    def _is_good(self, metrics: Mapping[str, float | Tensor], rows: Tensor) -> bool:
        """Return whether the losses of the next step are finite; on a GPU they are looked at only if asked for.

        Raises:
            InputError: if they are not, and the batch may not be left out.
        """
        if rows.device.type != "cpu" and self.run.skip_bad_batches == 0:
            return True
        losses = {name: float(metrics[key]) for key, name in LOSSES.items()}
        if all(map(math.isfinite, losses.values())):
            return True
        self._bad_batches.record(self.step + 1, losses, rows.tolist())
        return False

    def _batch_rows(self) -> Tensor:
        """Return the transitions of the next step, drawn with replacement.

        They depend on seed and step alone, so a resumed run draws the same.
        """
        generator = torch.Generator().manual_seed(self.run.seed * 1_000_003 + self.step)
        rows = torch.randint(len(self._training), (self.config.batch_size,), generator=generator)
        return rows.to(self._training.rewards.device)

    def _evaluate(self) -> dict[str, float]:
        if self._held_out is None or self._starts is None:
            return {}
        return {
            f"held_out/{name}": value for name, value in evaluate(self.critic, self._held_out, self._starts).items()
        }

    def _check_finite(self, metrics: Mapping[str, float | Tensor]) -> None:
        weight_norm = torch.nn.utils.get_total_norm(self.critic.parameters()).detach()
        losses = {name: metrics[key] for key, name in LOSSES.items() if key in metrics}  # none of a batch left out
        check_finite({**losses, "weight norm": weight_norm}, self.step)


def _watched(metrics: Mapping[str, Any]) -> tuple[str, float]:
    """Return the metric to watch, with its name: the held-out error, the batch's loss where nothing is held out."""
    if "held_out/td_error" in metrics:
        return "held-out td error", metrics["held_out/td_error"]
    return "q loss", float(metrics.get("q_loss", math.nan))


def _summary(metrics: Mapping[str, Any]) -> str:
    """Return the progress bar's text, such as ``held-out: td error 1.93, rank corr 0.71; q loss 0.02``."""
    text = f"q loss {float(metrics.get('q_loss', math.nan)):.3g}"
    if "held_out/td_error" not in metrics:
        return text
    error, correlation = metrics["held_out/td_error"], metrics["held_out/rank_correlation"]
    return f"held-out: td error {error:.3g}, rank corr {correlation:.2f}; {text}"
