"""AdaCat for one's own data: an estimator with scikit-learn's methods, which does not need scikit-learn."""

import copy
import inspect
import math
import sys
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from trajectory_adacat.density.bounds import Bounds
from trajectory_adacat.density.tabular_models import TabularModel
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.heads.adacat import AdaCatConfig

FEWEST_ROWS = 10
LARGEST_SEED = 2**31 - 1  # of those drawn from a RandomState
LEAST_COUNTS = {"k": 1, "hidden": 1, "frequencies": 0, "batch_size": 1, "max_steps": 1, "patience": 1}


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
        patience: evaluations without improvement, of 50 evenly spaced ones, after which the training stops; counted
            from the step at which the smoothing reaches its last width, after 60 % of ``max_steps``.
        random_state: seed of the split, the initial weights, the batches and the samples. A RandomState, or None for
            numpy's global one, gives the seed of each fit and each sample.

    Attributes:
        model_: the fitted network.
        n_steps_: number of updates made.
        validation_nll_: lowest negative log-likelihood of the validation rows, in nats per row in the data's units.
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
        random_state: int | np.random.RandomState | None = 0,
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
            InputError: for a parameter out of range, missing values, columns of whole numbers or of a single value, or
                fewer than 10 rows.
        """
        self._check_parameters()
        rows = torch.from_numpy(_as_table(x))
        if len(rows) < FEWEST_ROWS and rows.shape[1]:
            raise InputError(f"x needs at least {FEWEST_ROWS} rows, got n_samples = {len(rows)}.")
        _check_columns(rows)
        seed = _draw_seed(self.random_state)
        generator = torch.Generator().manual_seed(seed)
        rows = rows[torch.randperm(len(rows), generator=generator)]
        n_validation = max(1, round(self.validation_fraction * len(rows)))
        validation, training = rows[:n_validation], rows[n_validation:]
        if len(training) < FEWEST_ROWS - 1:
            raise InputError(
                f"validation_fraction {self.validation_fraction} leaves {len(training)} of {len(rows)} rows for "
                f"training, and at least {FEWEST_ROWS - 1} are needed: lower validation_fraction or give more rows."
            )
        _check_columns(training)
        self._bounds = Bounds.of(training)
        self.low_, self.high_ = self._bounds.low.numpy(), self._bounds.high.numpy()
        self.n_features_in_ = rows.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model_ = TabularModel(self.n_features_in_, self._form(), self.hidden, 2, self.frequencies)
        self._train(self._bounds.scale(training), validation, generator)
        return self

    def _check_parameters(self) -> None:
        for name, least in LEAST_COUNTS.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}.")
        for name in ("learning_rate", "smoothing"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 < float(value) < math.inf:
                raise InputError(f"{name} must be finite and above 0, got {value!r}.")
        if not (isinstance(self.validation_fraction, Real) and 0 < self.validation_fraction < 1):
            raise InputError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction!r}.")

    def _form(self) -> AdaCatConfig:
        start = max(0.2, self.smoothing)
        return AdaCatConfig(n_bins=self.k, smooth_coeff=self.smoothing, smooth_start=start, smooth_bins=1.0)

    def _train(self, training: Tensor, validation: Tensor, generator: torch.Generator) -> None:
        optimizer = torch.optim.Adam(self.model_.parameters(), lr=self.learning_rate)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.max_steps)
        best, waited, every = float("inf"), 0, max(1, self.max_steps // 50)
        annealing = self._form().smooth_fraction * self.max_steps
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
            nll = -float(self._log_prob(validation).sum(dim=-1).mean())
            value = float(loss.detach())
            if not math.isfinite(value) or math.isnan(nll):
                raise InputError(
                    f"The training diverged: at step {step} the loss is {value}, and {nll} on the validation rows. "
                    f"Fit again with a lower learning_rate than {self.learning_rate}."
                )
            if nll < best:
                best, waited, weights = nll, 0, copy.deepcopy(self.model_.state_dict())
            elif step > annealing:  # a wide kernel may not improve, and a narrower one still does
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
        return self._log_prob(rows).numpy()

    def _log_prob(self, rows: Tensor) -> Tensor:
        scaled = self.model_.log_prob(self._bounds.scale(rows))
        return self._bounds.log_prob(rows, scaled)

    def score_samples(self, x: Any) -> np.ndarray:
        """Return the log-density of each row ``[n]``, in nats in the data's units; see `score_conditionals`."""
        return self.score_conditionals(x).sum(axis=1)

    def score(self, x: Any, y: None = None) -> float:
        """Return the total log-density of the rows, as scikit-learn's KernelDensity does."""
        return float(self.score_samples(x).sum())

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw rows ``[n_samples, D]`` within the bounds.

        Args:
            n_samples: number of rows.
            random_state: seed, or a RandomState that gives it; None for that of the estimator.

        Raises:
            InputError: if the density is not fitted, or the number or the seed is of another type.
        """
        self._check_fitted()
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise InputError(f"n_samples must be a whole number of at least 1, got {n_samples!r}.")
        seed = _draw_seed(self.random_state if random_state is None else random_state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._bounds.unscale(self.model_.sample(n_samples)).numpy()

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise InputError("This AdaCatDensity is not fitted: call fit first.")


def _draw_seed(random_state: Any) -> int:
    """Return a whole number as it is, or draw one from a RandomState; None stands for numpy's global state."""
    if isinstance(random_state, Integral):
        return int(random_state)
    if random_state is None:
        return int(np.random.randint(LARGEST_SEED))  # noqa: NPY002  (scikit-learn's convention)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(LARGEST_SEED))
    raise InputError(f"random_state must be a whole number, a numpy RandomState or None, got {random_state!r}.")


def _as_table(x: Any) -> np.ndarray:
    if hasattr(x, "toarray"):
        raise InputError("x is a sparse matrix, and sparse input is not supported: pass x.toarray().")
    try:
        values = np.asarray(x)
        table = None if np.iscomplexobj(values) else values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"x must be a table of numbers: {error}") from error
    if table is None:
        raise InputError("Complex data not supported.")
    if table.ndim != 2:
        raise InputError(f"x must have two dimensions, rows and columns, got shape {table.shape}.")
    if not np.isfinite(table).all():
        column = int((~np.isfinite(table)).any(axis=0).argmax())
        raise InputError(f"Column {column} has missing or infinite values: drop or impute those rows.")
    return table


def _check_columns(rows: Tensor) -> None:
    if not rows.shape[1]:
        raise InputError(f"x has 0 feature(s) (shape={tuple(rows.shape)}) while a minimum of 1 is required.")
    for column, values in enumerate(rows.T):
        if values.min() == values.max():
            raise InputError(f"Column {column} has a single value, so it has no density: leave it out.")
        if (values == values.round()).all():
            raise InputError(f"Column {column} holds whole numbers, so it has no density: add noise or leave it out.")
