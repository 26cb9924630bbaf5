"""The experiments of the paper's Figures 1 to 3; results are JSON-serializable."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trajectory_adacat.density.toy_data import two_gaussians, two_spirals
from trajectory_adacat.density.toy_models import (
    OBJECTIVES,
    AutoregressiveModel,
    MarginalModel,
    Objective,
    fit,
    mean_negative_log_likelihood,
)
from trajectory_adacat.distributions import SmoothingSchedule
from trajectory_adacat.errors import InputError

LARGEST = 10**9  # of a number of points, bins or updates
LARGEST_SEED = 2**32 - 1
COLLAPSED_WIDTH = 1e-4  # a bin narrower than this counts as collapsed
STAGES = (0.02, 0.1, 0.3, 1.0)  # fractions of the training at which Figure 3 shows the density
IMAGE_SIZE = 240  # pixels of a density image, per side


@dataclass(frozen=True)
class ToySettings:
    """Settings of the three experiments. All models of a figure share them.

    Attributes:
        seeds: seeds of the data, the initial weights and the batches; one run per seed.
        train_points: size of the training set.
        test_points: size of the held-out set.
        batch_size: points in each update.
        smoothing: full width of the uniform smoothing kernel, the paper's lambda.
        smooth_start: its first width where it is annealed.
        smooth_bins: its least width in widths of the target's bin, where it is annealed.
        spiral_bins: number of AdaCat's bins in Figure 1.
        uniform_bins: numbers of uniform bins to compare with.
        spiral_steps: updates in Figure 1.
        spiral_learning_rate: Adam's initial learning rate in Figure 1, with cosine decay.
        mixture_bins: number of bins in Figure 2, adaptive or uniform.
        collapse_bins: number of bins in Figure 3.
        interval_steps: updates in Figures 2 and 3.
        interval_learning_rate: Adam's constant learning rate in Figures 2 and 3.

    Raises:
        InputError: if a number is not above 0 and at most `LARGEST`, a seed is out of range, or a list is empty.
    """

    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    train_points: int = 50_000
    test_points: int = 20_000
    batch_size: int = 512
    smoothing: float = 0.01
    smooth_start: float = 0.2
    smooth_bins: float = 1.0
    spiral_bins: int = 16
    uniform_bins: tuple[int, ...] = (16, 32, 64, 128)
    spiral_steps: int = 3000
    spiral_learning_rate: float = 3e-3
    mixture_bins: int = 16
    collapse_bins: int = 50
    interval_steps: int = 2000
    interval_learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not numbers:
                raise InputError(f"--{name} needs at least one value.")
            for number in numbers:
                if name == "seeds" and not 0 <= number <= LARGEST_SEED:
                    raise InputError(f"--seeds must lie between 0 and {LARGEST_SEED}, got {number}.")
                if name != "seeds" and not 0 < number <= LARGEST:
                    raise InputError(f"--{name} must be positive and at most {LARGEST}, got {number}.")
        if self.smooth_start < self.smoothing:
            raise InputError(f"--smooth_start must be at least --smoothing {self.smoothing}, got {self.smooth_start}.")

    @property
    def constant(self) -> SmoothingSchedule:
        """The paper's smoothing."""
        return SmoothingSchedule(self.smoothing)

    @property
    def annealed(self) -> SmoothingSchedule:
        """Smoothing from coarse to fine."""
        return SmoothingSchedule(self.smoothing, self.smooth_start, bins=self.smooth_bins)


@dataclass(frozen=True)
class Run:
    """The settings of one training, apart from the model and the data."""

    objective: Objective
    schedule: SmoothingSchedule
    steps: int
    batch_size: int
    learning_rate: float
    decay: bool

    def train(self, model: nn.Module, data: Tensor, after_step: Callable[[int], object]) -> None:
        """Train ``model`` on ``data``."""
        fit(model, data, after_step=after_step, **vars(self))


def summarize(values: Sequence[float]) -> dict[str, Any]:
    """Return the values of all seeds, their mean and its standard error (None for a single seed)."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"values": list(values), "mean": statistics.fmean(values), "standard_error": error}


def spirals(settings: ToySettings, progress: Callable[[], object]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Run Figure 1: autoregressive models of two spirals, AdaCat against uniform bins.

    Uniform bins are trained with the plain likelihood, whose gradient is unbiased for fixed bins.

    Args:
        settings: settings of the experiment.
        progress: called after each update.

    Returns:
        Held-out negative log-likelihoods in nats by model, and images ``[y, x]`` of the first seed's densities.
    """
    kinds = [(f"adacat_{settings.spiral_bins}", settings.spiral_bins, True)]
    kinds += [(f"uniform_{bins}", bins, False) for bins in settings.uniform_bins]
    likelihoods: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    images: dict[str, np.ndarray] = {}
    for seed in settings.seeds:
        generator = torch.Generator().manual_seed(seed)
        train, test = (two_spirals(count, generator) for count in (settings.train_points, settings.test_points))
        if not images:
            images["data"] = histogram(test)
        for name, bins, adaptive in kinds:
            torch.manual_seed(seed)
            model = AutoregressiveModel(bins, adaptive)
            run = Run(
                objective="analytic" if adaptive else "plain",
                schedule=settings.constant,
                steps=settings.spiral_steps,
                batch_size=settings.batch_size,
                learning_rate=settings.spiral_learning_rate,
                decay=True,
            )
            run.train(model, train, lambda step: progress())
            likelihoods[name].append(mean_negative_log_likelihood(model, test))
            if name not in images:
                images[name] = density_image(model)
    return {"negative_log_likelihood": {name: summarize(values) for name, values in likelihoods.items()}}, images


def histogram(points: Tensor) -> np.ndarray:
    """Estimate the density of points ``[n, 2]`` by a histogram image ``[y, x]``."""
    x, y = points.T.numpy()
    counts, _, _ = np.histogram2d(x, y, bins=IMAGE_SIZE // 2, range=((0.0, 1.0), (0.0, 1.0)), density=True)
    return counts.T.astype(np.float32)


@torch.no_grad()
def density_image(model: nn.Module) -> np.ndarray:
    """Evaluate the density at the pixel centres of an image ``[y, x]``."""
    centres = (torch.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE
    points = torch.cartesian_prod(centres, centres)  # x varies slowest
    density = model(points).log_prob(points).sum(dim=-1).exp()
    return density.reshape(IMAGE_SIZE, IMAGE_SIZE).T.numpy()


def mixture(settings: ToySettings, progress: Callable[[], object]) -> dict[str, Any]:
    """Run Figure 2: a mixture of two Gaussians of different scales, with equal and with adaptive widths.

    Args:
        settings: settings of the experiment.
        progress: called after each update.

    Returns:
        Held-out negative log-likelihoods by model and of the true density, and the first seed's densities.
    """
    objectives: dict[str, Objective] = {"equal_width": "plain", "adacat": "analytic"}
    likelihoods: dict[str, list[float]] = {name: [] for name in (*objectives, "target")}
    curves: dict[str, Any] = {}
    for seed in settings.seeds:
        train, test = interval_data(settings, seed)
        likelihoods["target"].append(target_negative_log_likelihood(test))
        for name, objective in objectives.items():
            torch.manual_seed(seed)
            model = MarginalModel(settings.mixture_bins, adaptive=name == "adacat")
            interval_run(settings, objective).train(model, train, lambda step: progress())
            likelihoods[name].append(mean_negative_log_likelihood(model, test))
            curves.setdefault(name, curve(model))
    summary = {name: summarize(values) for name, values in likelihoods.items()}
    return {"negative_log_likelihood": summary, "curves": curves}


def collapse(settings: ToySettings, progress: Callable[[], object]) -> dict[str, Any]:
    """Run Figure 3: bins collapse under the plain and the single-sample objective, not under the smoothed ones.

    Args:
        settings: settings of the experiment.
        progress: called after each update.

    Returns:
        For each objective the exact, unsmoothed held-out negative log-likelihoods, the numbers of collapsed bins, and
        the first seed's density at several stages of the training.
    """
    results: dict[str, Any] = {"bins": settings.collapse_bins, "collapsed_below_width": COLLAPSED_WIDTH}
    target = []
    found: dict[str, dict[str, list[float]]] = {name: {"nll": [], "collapsed": []} for name in OBJECTIVES}
    stages: dict[str, list[dict[str, Any]]] = {name: [] for name in OBJECTIVES}
    shown = {max(1, round(share * settings.interval_steps)) for share in STAGES}
    for seed in settings.seeds:
        train, test = interval_data(settings, seed)
        target.append(target_negative_log_likelihood(test))
        for objective in OBJECTIVES:
            torch.manual_seed(seed)
            model = MarginalModel(settings.collapse_bins, adaptive=True)
            recorded = shown if seed == settings.seeds[0] else set()
            after_step = recorder(model, recorded, stages[objective], progress)
            interval_run(settings, objective).train(model, train, after_step)
            found[objective]["nll"].append(mean_negative_log_likelihood(model, test))
            found[objective]["collapsed"].append(collapsed_bins(model))
    results["negative_log_likelihood"] = {name: summarize(each["nll"]) for name, each in found.items()}
    results["negative_log_likelihood"]["target"] = summarize(target)
    results["collapsed_bins"] = {name: summarize(each["collapsed"]) for name, each in found.items()}
    return results | {"stages": stages}


def recorder(
    model: nn.Module, recorded: set[int], stages: list[dict[str, Any]], progress: Callable[[], object]
) -> Callable[[int], None]:
    """Return a callback that reports each update and appends the density to ``stages`` at the ``recorded`` steps."""

    def after_step(step: int) -> None:
        progress()
        if step in recorded:
            stages.append({"step": step, **curve(model)})

    return after_step


def interval_data(settings: ToySettings, seed: int) -> tuple[Tensor, Tensor]:
    """Draw training and held-out points of the mixture of two Gaussians, without the few outside [0, 1]."""
    torch.manual_seed(seed)
    count = settings.train_points + settings.test_points
    points = two_gaussians().sample((count + 100,))
    points = points[(points >= 0) & (points <= 1)][:count]
    return points[: settings.train_points], points[settings.train_points :]


def interval_run(settings: ToySettings, objective: Objective) -> Run:
    """Return the training settings of Figures 2 and 3."""
    return Run(
        objective=objective,
        schedule=settings.annealed if objective == "annealed" else settings.constant,
        steps=settings.interval_steps,
        batch_size=settings.batch_size,
        learning_rate=settings.interval_learning_rate,
        decay=False,
    )


def target_negative_log_likelihood(points: Tensor) -> float:
    """Return the negative log-likelihood of the true density, the lower bound for a model up to sampling error."""
    return -float(two_gaussians().log_prob(points).double().mean())


@torch.no_grad()
def curve(model: nn.Module) -> dict[str, list[float]]:
    """Return the edges and the densities of a one-dimensional model."""
    density = model(torch.zeros(()))
    return {"edges": density.edges.tolist(), "density": density.log_density.exp().tolist()}


@torch.no_grad()
def collapsed_bins(model: nn.Module) -> int:
    """Count the bins narrower than ``COLLAPSED_WIDTH``."""
    return int((model(torch.zeros(())).widths < COLLAPSED_WIDTH).sum())


EXPERIMENTS: Mapping[int, str] = {1: "two spirals", 2: "adaptive bins", 3: "bin collapse"}


def total_steps(settings: ToySettings, figures: Sequence[int]) -> int:
    """Return the total number of updates for these figures."""
    by_figure = {
        1: (1 + len(settings.uniform_bins)) * settings.spiral_steps,
        2: 2 * settings.interval_steps,
        3: len(OBJECTIVES) * settings.interval_steps,
    }
    return len(settings.seeds) * sum(by_figure[figure] for figure in figures)
