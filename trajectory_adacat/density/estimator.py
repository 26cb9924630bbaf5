"""AdaCat for one's own data: an estimator with scikit-learn's methods, which does not need scikit-learn."""

import copy
import inspect
import sys
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from trajectory_adacat.density.bounds import Bounds
from trajectory_adacat.density.tabular_models import TabularModel
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.heads.adacat import AdaCatConfig
from trajectory_adacat.training.finite import check_finite

FEWEST_ROWS = 10


class AdaCatDensity:
    """An autoregressive density over the columns of a table.

    Columns are scaled to [0, 1] by the bounds of the training rows, validation rows left out. `Bounds` says which
    density rows outside them have. As inputs of later columns, values outside count as the bound.

    Args:
        k: number of bins of each column.
        hidden: units in each of the two hidden layers.
        frequencies: pairs of Fourier features of each column.
        smoothing: last full width of the smoothing kernel, which begins at 0.2.
        learning_rate: Adam's initial learning rate; it falls to 0 along a cosine.
        batch_size: rows of an update.
        max_steps: most updates.
        validation_fraction: share of the rows by which the best weights are chosen.
        patience: evaluations without improvement, of 50 evenly spaced ones, after which the training stops.
        random_state: seed of the split, the initial weights, the batches and the samples.

    Attributes:
        model_: the fitted network.
        n_steps_: number of updates made.
        validation_nll_: lowest negative log-likelihood of the validation rows, in nats per row of the scaled data.
        n_features_in_: number of columns.
        low_: lower bound of each column, ``[D]``.
        high_: upper bound of each column, ``[D]``.

    Example::

        >>> density = AdaCatDensity(k=32).fit(x)
        >>> density.score_samples(x_new)
        >>> density.sample(100)
    """

    def __init__(
        self,
        k: int = 32,
        *,
        hidden: int = 64,
        frequencies: int = 4,
        smoothing: float = 0.001,
        learning_rate: float = 3e-3,
        batch_size: int = 512,
        max_steps: int = 3000,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: int = 0,
    ) -> None:
        self.k = k
        self.hidden = hidden
        self.frequencies = frequencies
        self.smoothing = smoothing
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's description of the estimator; scikit-learn alone calls it, so it is loaded."""
        sklearn: Any = sys.modules["sklearn.utils"]
        inputs, targets = sklearn.InputTags(sparse=False), sklearn.TargetTags(required=False)
        return sklearn.Tags("density_estimator", targets, input_tags=inputs)

    def set_params(self, **params: Any) -> Self:
        """Set constructor's arguments.

        Raises:
            InputError: naming one that does not exist.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise InputError(f"AdaCatDensity has no parameter {name!r}.")
            setattr(self, name, value)
        return self

    def fit(self, x: Any, y: None = None) -> Self:
        """Fit the density to the rows of ``x [n, D]``.

        Raises:
            InputError: for missing values, columns of whole numbers or of a single value, or fewer than 10 rows.
        """
        rows = torch.from_numpy(_as_table(x))
        _check_columns(rows)
        if not 0 < self.validation_fraction < 1:
            raise InputError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}.")
        generator = torch.Generator().manual_seed(self.random_state)
        rows = rows[torch.randperm(len(rows), generator=generator)]
        n_validation = max(1, round(self.validation_fraction * len(rows)))
        validation, training = rows[:n_validation], rows[n_validation:]
        _check_columns(training)
        self._bounds = Bounds.of(training)
        self.low_, self.high_ = self._bounds.low.numpy(), self._bounds.high.numpy()
        self.n_features_in_ = rows.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self.model_ = TabularModel(self.n_features_in_, self._form(), self.hidden, 2, self.frequencies)
        self._train(self._bounds.scale(training), self._bounds.scale(validation), generator)
        return self

    def _form(self) -> AdaCatConfig:
        start = max(0.2, self.smoothing)
        return AdaCatConfig(n_bins=self.k, smooth_coeff=self.smoothing, smooth_start=start, smooth_bins=1.0)

    def _train(self, training: Tensor, validation: Tensor, generator: torch.Generator) -> None:
        optimizer = torch.optim.Adam(self.model_.parameters(), lr=self.learning_rate)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.max_steps)
        best, waited, every = float("inf"), 0, max(1, self.max_steps // 50)
        weights = copy.deepcopy(self.model_.state_dict())
        for step in range(1, self.max_steps + 1):
            batch = training[torch.randint(len(training), (self.batch_size,), generator=generator)]
            optimizer.zero_grad()
            loss = self.model_.losses(batch, (step - 1) / self.max_steps).mean()
            loss.backward()
            optimizer.step()
            rates.step()
            self.n_steps_ = step
            if step % every and step < self.max_steps:
                continue
            check_finite({"loss": loss.detach()}, step)
            nll = -float(self.model_.log_prob(validation).sum(dim=-1).mean())
            if nll < best:
                best, waited, weights = nll, 0, copy.deepcopy(self.model_.state_dict())
            else:
                waited += 1
                if waited >= self.patience:
                    break
        self.model_.load_state_dict(weights)
        self.validation_nll_ = best

    def score_conditionals(self, x: Any) -> np.ndarray:
        """Return each column's log-density given the earlier columns, ``[n, D]``, in nats in the data's units.

        Raises:
            InputError: if the density is not fitted, for missing values, or for another number of columns.
        """
        rows = torch.from_numpy(_as_table(x))
        self._check_fitted()
        if rows.shape[1] != self.n_features_in_:
            expected = f"AdaCatDensity is expecting {self.n_features_in_} features as input"  # scikit-learn's words
            raise InputError(f"X has {rows.shape[1]} features, but {expected}.")
        scaled = self.model_.log_prob(self._bounds.scale(rows))
        return self._bounds.log_prob(rows, scaled).numpy()

    def score_samples(self, x: Any) -> np.ndarray:
        """Return the log-density of each row ``[n]``, in nats in the data's units; see `score_conditionals`."""
        return self.score_conditionals(x).sum(axis=1)

    def score(self, x: Any, y: None = None) -> float:
        """Return the total log-density of the rows, as scikit-learn's KernelDensity does."""
        return float(self.score_samples(x).sum())

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> np.ndarray:
        """Draw rows ``[n_samples, D]`` within the bounds.

        Args:
            n_samples: number of rows.
            random_state: seed; None for that of the estimator.

        Raises:
            InputError: if the density is not fitted.
        """
        self._check_fitted()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state if random_state is None else random_state)
            return self._bounds.unscale(self.model_.sample(n_samples)).numpy()

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise InputError("This AdaCatDensity is not fitted: call fit first.")


def _as_table(x: Any) -> np.ndarray:
    if hasattr(x, "toarray"):
        raise InputError("x is a sparse matrix, and sparse input is not supported: pass x.toarray().")
    if np.iscomplexobj(x):
        raise InputError("Complex data not supported.")
    try:
        table = np.array(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"x must be a table of numbers: {error}") from error
    if table.ndim != 2:
        raise InputError(f"x must have two dimensions, rows and columns, got shape {table.shape}.")
    if not np.isfinite(table).all():
        column = int((~np.isfinite(table)).any(axis=0).argmax())
        raise InputError(f"Column {column} has missing or infinite values: drop or impute those rows.")
    return table


def _check_columns(rows: Tensor) -> None:
    if not rows.shape[1]:
        raise InputError(f"x has 0 feature(s) (shape={tuple(rows.shape)}) while a minimum of 1 is required.")
    if len(rows) < FEWEST_ROWS - 1:
        raise InputError(f"x needs at least {FEWEST_ROWS} rows, got n_samples = {len(rows)}.")
    for column, values in enumerate(rows.T):
        if values.min() == values.max():
            raise InputError(f"Column {column} has a single value, so it has no density: leave it out.")
        if (values == values.round()).all():
            raise InputError(f"Column {column} holds whole numbers, so it has no density: add noise or leave it out.")
