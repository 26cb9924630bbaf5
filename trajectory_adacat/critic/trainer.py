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
from trajectory_adacat.errors import InputError
from trajectory_adacat.training.config import BasicRunConfig
from trajectory_adacat.training.finite import check_finite
from trajectory_adacat.training.logger import MetricsLogger
from trajectory_adacat.training.optimizer import load_optimizer_state, optimizer_state, scale_learning_rates
from trajectory_adacat.training.progress import Progress
from trajectory_adacat.training.trainer import check_serializable


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
        run: BasicRunConfig,
        folder: Path,
        description: dict[str, Any],
        verbose: bool = True,
    ) -> None:
        check_serializable(description)
        self.critic, self.config, self.run, self.folder = critic, config, run, folder
        self.description, self.verbose = description, verbose
        self.step = 0
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
            InputError: if a loss or the weights are not finite at a step to log or save; that step is neither logged
                nor saved.
        """
        n_steps, saved_steps = self.config.n_steps, self.run.saved_steps(self.config.n_steps)
        logged = MetricsLogger(self.folder, self.step, self.run.wandb, self.description)
        with logged as logger, Progress(n_steps, self.step, "critic", self.verbose, self.run.watch) as progress:
            start_time, start_step = time.perf_counter(), self.step
            while self.step < n_steps:
                metrics = self._train_step()
                progress.update()
                is_logged = self.step % self.run.log_freq == 0 or self.step == n_steps
                if is_logged or self.step in saved_steps:
                    self._check_finite(metrics)
                if is_logged:
                    metrics |= self._evaluate()
                    metrics["seconds_per_step"] = (time.perf_counter() - start_time) / (self.step - start_step)
                    progress.show(_summary(metrics), *_watched(metrics))
                    logger.log(self.step, metrics)
                if self.step in saved_steps:
                    self.save()

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        description = {**self.description, "n_steps": self.config.n_steps, "step": self.step}
        save_critic(self.folder / checkpoint_name(self.step), self.critic, self._training_state(), description)

    def load_state(self, step: int, weights: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Load the checkpoint of ``step``; resumption is bit-exact on CPUs.

        Raises:
            InputError: if the weights do not fit the critic.
        """
        targets = {name.removeprefix("target/"): value for name, value in state.items() if name.startswith("target/")}
        try:
            self.critic.load_state_dict(weights)
            self._target.load_state_dict(targets)
        except RuntimeError as error:
            raise InputError(f"The checkpoint to --resume holds another critic: {error}") from error
        load_optimizer_state([self._optimizer], self.critic, state)
        self.step = step

    def _training_state(self) -> dict[str, Tensor]:
        targets = {f"target/{name}": value for name, value in self._target.state_dict().items()}
        return {**targets, **optimizer_state([self._optimizer], self.critic)}

    def _train_step(self) -> dict[str, float | Tensor]:
        batch = self._training.select(self._batch_rows())
        factor = 0.5 * (1.0 + math.cos(math.pi * self.step / self.config.n_steps))
        scale_learning_rates([self._optimizer], factor)
        if self.step < self.config.mc_steps:
            q_loss, v_loss = start_losses(self.critic, batch)
        else:
            q_loss, v_loss = iql_losses(self.critic, self._target, batch, self.config.expectile)
        self._optimizer.zero_grad(set_to_none=True)
        (q_loss + v_loss).backward()
        self._optimizer.step()
        torch._foreach_lerp_(self._averages, self._weights, self.config.target_rate)
        self.step += 1
        learning_rate = self.config.learning_rate * factor
        return {"q_loss": q_loss.detach(), "v_loss": v_loss.detach(), "learning_rate": learning_rate}

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
        values = {"loss of Q": metrics["q_loss"], "loss of V": metrics["v_loss"], "weight norm": weight_norm}
        check_finite(values, self.step)


def _watched(metrics: Mapping[str, Any]) -> tuple[str, float]:
    """Return the metric to watch, with its name: the held-out error, the batch's loss where nothing is held out."""
    if "held_out/td_error" in metrics:
        return "held-out td error", metrics["held_out/td_error"]
    return "q loss", float(metrics["q_loss"])


def _summary(metrics: Mapping[str, Any]) -> str:
    """Return the progress bar's text, such as ``held-out: td error 1.93, rank corr 0.71; q loss 0.02``."""
    text = f"q loss {float(metrics['q_loss']):.3g}"
    if "held_out/td_error" not in metrics:
        return text
    error, correlation = metrics["held_out/td_error"], metrics["held_out/rank_correlation"]
    return f"held-out: td error {error:.3g}, rank corr {correlation:.2f}; {text}"
