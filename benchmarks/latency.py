"""Milliseconds per action of a planner that a critic guides, and where they go.

``python -m benchmarks.planning`` prints the table. It takes random weights, in the sizes and with the search of a
preset, or a trained model and its critic.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.action_values import plan_flags
from benchmarks.clock import now
from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.critic.checkpoint import load_critic
from trajectory_adacat.critic.config import CriticConfig, CriticForm
from trajectory_adacat.critic.networks import Critic
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.planning.decoding import CachedDecoder, WindowConfig
from trajectory_adacat.planning.planner import Planner
from trajectory_adacat.planning.scoring import ActionValues
from trajectory_adacat.robots import named_datasets
from trajectory_adacat.scripts import plan_arguments, plan_setting, train
from trajectory_adacat.scripts.critic import CriticArguments
from trajectory_adacat.training.config import TrainConfig
from trajectory_adacat.transition import TransitionSpec

N_WARMUP, N_ACTIONS = 5, 20  # actions before the first timing, and of each timing
HEADER = (
    *("dataset", "environments", "candidates", "ms/action"),
    *("context", "action tokens", "sampling and rest", "critic"),
)


class Stopwatch:
    """Sums the seconds of each part of the work, by the wall clock: reading the processor's takes too long.

    Attributes:
        seconds: by name of the part.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the seconds of a block to a part."""
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started


class TimedDecoder(CachedDecoder):
    """A decoder that times the context, and the tokens after it together with their distributions."""

    def __init__(self, watch: Stopwatch, model: GPT, context: Tensor, window: WindowConfig) -> None:
        self._watch = watch
        with watch.time("context"):
            super().__init__(model, context, window)

    def next_distribution(self, dimension: int) -> object:
        """See `Decoder`."""
        with self._watch.time("tokens"):
            return super().next_distribution(dimension)


class TimedCritic:
    """Times a critic."""

    def __init__(self, watch: Stopwatch, critic: ActionValues) -> None:
        self._watch, self._critic = watch, critic

    def q(self, observations: Tensor, actions: Tensor) -> Tensor:
        """See `ActionValues`."""
        with self._watch.time("critic"):
            return self._critic.q(observations, actions)


class LatencyCase(NamedTuple):
    """What to time.

    Attributes:
        dataset: name of the dataset, which says the robot.
        n_environments: environments side by side.
        preset: sizes and search; None for the preset of the dataset.
        checkpoint: trained model; None for random weights.
        critic: its critic, if there is a model.
        device: where the model and the critic are.
    """

    dataset: str
    n_environments: int
    preset: str | None = "cpu"
    checkpoint: Path | None = None
    critic: Path | None = None
    device: str = "cpu"


class Latency(NamedTuple):
    """Processor milliseconds per action of one environment, the share of each part, and the number of candidates."""

    total: float
    context: float
    tokens: float
    critic: float
    candidates: int

    def describe(self) -> list[str]:
        """Return the columns after the case's."""
        shares = (self.context, self.tokens, 1.0 - self.context - self.tokens - self.critic, self.critic)
        return [str(self.candidates), f"{self.total:.2f}", *(f"{share:.0%}" for share in shares)]


def make_planner(case: LatencyCase, watch: Stopwatch) -> Planner:
    """Return the planner to time.

    Raises:
        InputError: if the checkpoint or the critic is missing, or they do not belong together.
    """
    return random_planner(case, watch) if case.checkpoint is None else trained_planner(case.checkpoint, case, watch)


def trained_planner(checkpoint: Path, case: LatencyCase, watch: Stopwatch) -> Planner:
    """Return a planner of a trained model; see `make_planner`."""
    named = "auto" if case.critic is None else str(case.critic.resolve())
    arguments, source = plan_arguments.parse([*plan_flags(checkpoint, case.preset), "--critic", named])
    config = plan_setting.planner_config(arguments, source.description["discount"])
    loaded = load_model(source.folder, config.use_ema, case.device)
    assert source.critic is not None  # because of --critic
    critic = TimedCritic(watch, load_critic(source.critic, case.device).critic)
    return Planner(loaded.model, loaded.normalizer, config, partial(TimedDecoder, watch), critic)


def random_planner(case: LatencyCase, watch: Stopwatch) -> Planner:
    """Return a planner of fixed random weights in the sizes of a preset."""
    torch.manual_seed(0)
    robot = named_datasets()[case.dataset].robot
    flags = ["--dataset", case.dataset, *([] if case.preset is None else ["--preset", case.preset])]
    trained = train.TrainArguments().parse(flags).settings(TrainConfig)
    spec = TransitionSpec(robot.observation_size, robot.action_size)
    model = GPT(GPTConfig.sized(trained.model, spec, trained.data.subsampled_sequence_length)).to(case.device)
    networks = CriticArguments().parse(flags).settings(CriticConfig).networks
    form = CriticForm(observation_size=robot.observation_size, action_size=robot.action_size, networks=networks)
    critic = Critic(form).to(case.device).eval().requires_grad_(False)
    arguments = plan_arguments.PlanArguments().parse([*flags, "--critic", "auto"])
    arguments.use_parameterization(trained.model.head.name)
    config = plan_setting.planner_config(arguments, trained.data.discount)
    normalizer = MinMaxNormalizer(torch.zeros(spec.dimension), torch.ones(spec.dimension))
    return Planner(model, normalizer, config, partial(TimedDecoder, watch), TimedCritic(watch, critic))


def measure_latency(case: LatencyCase, repeats: int, threads: int) -> Latency:
    """Time actions in this process: the fastest of the repetitions, and the shares over all of them."""
    use_threads(threads)
    use_device(case.device)
    watch = Stopwatch()
    planner = make_planner(case, watch)
    planner.reset(range(case.n_environments))
    observations = torch.rand(case.n_environments, planner.spec.observation_size, dtype=torch.float64)
    observations = planner.normalizer.denormalize(observations, planner.spec.observation).numpy()

    def act(n_actions: int) -> float:
        started = now(case.device)
        with watch.time("total"):
            for _ in range(n_actions):
                planner.act(observations)
                planner.observe([0.0] * case.n_environments)
        return (now(case.device) - started) / (n_actions * case.n_environments)

    act(N_WARMUP)
    watch.seconds.clear()
    seconds = min(act(N_ACTIONS) for _ in range(repeats))
    shares = (watch.seconds[part] / watch.seconds["total"] for part in ("context", "tokens", "critic"))
    search = planner.config.search
    return Latency(1000.0 * seconds, *shares, search.beam_width * search.n_expand)


def report_latency(case: LatencyCase, latency: Latency) -> None:
    """Print a row of the table."""
    print(f"| {' | '.join([case.dataset, str(case.n_environments), *latency.describe()])} |", flush=True)
