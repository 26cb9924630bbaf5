"""Differences of the cached planner from the naive one, and of bfloat16 from float32.

Run ``python -m benchmarks.exactness --checkpoint logs/hopper-medium-collected/gpt/adacat_0`` from the clone. Without
a checkpoint the weights are random. The cached and the naive planner act in float64 in the same environment. Then
decoders predict the same tokens from the contexts of that run.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from benchmarks.naive_planner import NaiveDecoder
from trajectory_adacat.checkpoint import load_model
from trajectory_adacat.checks import check_positive
from trajectory_adacat.command_line import CommandParser, run_command
from trajectory_adacat.computing import limit_onednn_cache
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.distributions import AdaCat, PiecewiseConstant
from trajectory_adacat.environments import make_environment
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.positions import PositionKind
from trajectory_adacat.planning.decoding import CachedDecoder, Decoder, Window, WindowConfig
from trajectory_adacat.planning.planner import Planner, PlannerConfig
from trajectory_adacat.planning.search_config import BeamSearchConfig
from trajectory_adacat.transition import TransitionSpec

N_CONTEXTS = 16
N_ROWS, N_EXPAND = 4, 2  # of the decoders that predict the same tokens
ROBOT = "hopper-medium-v2"  # environment of random weights
NOTICEABLE = 0.01  # fraction of the range of an action


class ExactnessArguments(CommandParser):
    """Compare the cached planner with the naive one, and bfloat16 with float32."""

    checkpoint: Path | None = None  # trained AdaCat model; by default random weights for hopper
    use_ema: bool = True  # use the moving average of the weights
    steps: int = 200  # environment steps
    horizon: int = 3  # transitions to imagine
    beam_width: int = 32  # beams kept after each transition
    cdf_act: float = 0.8  # x: actions from the fewest bins that hold 1 - x of the probability mass
    window: Window = "full"  # how much of the past is visible while imagining
    max_context_transitions: int = 2  # bounds the real past
    positions: PositionKind = "learned"  # of random weights
    naive: bool = True  # also plan without caches in float64, which takes most of the time
    seed: int = 0  # of the episodes
    threads: int = 1  # threads of this process


def logits(distribution: PiecewiseConstant) -> Tensor:
    """Return the outputs of the head for an AdaCat distribution, ``[..., 2k]``."""
    assert isinstance(distribution, AdaCat)
    return torch.cat([distribution.width_logits, distribution.mass_logits], -1)


def predict_same_tokens(
    decoders: Sequence[Decoder], spec: TransitionSpec, n_environments: int, n_transitions: int, seed: int = 0
) -> Iterator[list[PiecewiseConstant]]:
    """Yield the distributions of all decoders at each token. All decoders get the tokens sampled from the first one.

    Rows are expanded as in a search, and selected at random.

    Args:
        decoders: decoders of the same context.
        spec: layout of a transition.
        n_environments: environments of the context.
        n_transitions: transitions to imagine.
        seed: of the tokens and the selections.
    """
    generator = torch.Generator().manual_seed(seed)

    def grow(dimensions: range, n_rows: int) -> Iterator[list[PiecewiseConstant]]:
        for dimension in dimensions:
            distributions = [decoder.next_distribution(dimension) for decoder in decoders]
            yield distributions
            tokens = distributions[0].icdf(torch.rand(n_environments, n_rows, generator=generator)).float()
            for decoder in decoders:
                decoder.append(tokens)

    for step in range(n_transitions):
        for decoder in decoders:
            decoder.expand(N_ROWS * N_EXPAND if step == 0 else N_EXPAND)
        yield from grow(range(spec.action.start, spec.dimension), N_ROWS * N_EXPAND)
        chosen = torch.randint(N_ROWS * N_EXPAND, (n_environments, N_ROWS), generator=generator)
        for decoder in decoders:
            decoder.select(chosen)
        yield from grow(range(spec.observation.stop), N_ROWS)


def relative_distances(reference: PiecewiseConstant, other: PiecewiseConstant) -> Tensor:
    """Return the largest difference of the logits of each distribution, relative to the largest; batch shape."""
    a, b = logits(reference).double(), logits(other).double()
    return (a - b).abs().amax(-1) / a.abs().amax(-1)


class PairedRun:
    """Planners that act on the same observations. The environment takes the actions of the first planner.

    All planners record the actions taken, so that their actions differ by one plan and not by the past.

    Args:
        planners: planners by name.
        robot: name of the environment.
    """

    def __init__(self, planners: dict[str, Planner], robot: str) -> None:
        self._planners, self._robot, self._first = planners, robot, next(iter(planners))
        self.actions: dict[str, list[np.ndarray]] = {name: [] for name in planners}  # [a] each
        self.contexts: list[Tensor] = []  # a whole transition and the next observation, in [0, 1]

    def run(self, n_steps: int, seed: int) -> None:
        """Take ``n_steps`` steps, over as many episodes as needed."""
        environment = make_environment(self._robot)
        ended, transition = True, None
        for _ in range(n_steps):
            if ended:
                observation, _ = environment.reset(seed=seed)
                for planner in self._planners.values():
                    planner.reset(seed)
                seed, transition = seed + 1, None
            if transition is not None:
                self.contexts.append(self._context(transition, observation))
            for name, planner in self._planners.items():
                self.actions[name].append(planner.act(observation[None])[0])
            action = self.actions[self._first][-1]
            following, reward, terminated, truncated, _ = environment.step(action.astype(np.float32))
            for planner in self._planners.values():
                planner.observe([float(reward)], action[None])
            transition = np.concatenate([observation, action, [float(reward), 0.0]])
            observation, ended = following, terminated or truncated

    def _context(self, transition: np.ndarray, observation: np.ndarray) -> Tensor:
        planner = self._planners[self._first]
        past = planner.normalizer.normalize(torch.from_numpy(transition))
        return torch.cat([past, planner.normalizer.normalize(torch.from_numpy(observation), planner.spec.observation)])

    def differences(self, reference: str, other: str) -> np.ndarray:
        """Return the largest difference between the actions of two planners per step, relative to the action range."""
        planner = self._planners[self._first]
        span = (planner.normalizer.high - planner.normalizer.low)[planner.spec.action].numpy()
        gap = np.abs(np.array(self.actions[reference]) - np.array(self.actions[other]))
        return (gap / np.where(span > 0, span, 1.0)).max(-1)

    def n_differing(self, reference: str, other: str) -> int:
        """Return how many actions of two planners differ in float32, the precision that the environment gets."""
        pairs = zip(self.actions[reference], self.actions[other], strict=True)
        return sum(not np.array_equal(a.astype(np.float32), b.astype(np.float32)) for a, b in pairs)


def make_model(arguments: ExactnessArguments) -> tuple[GPT, MinMaxNormalizer, str]:
    """Return the model, its normalizer and the name of its environment.

    Raises:
        InputError: if the checkpoint is not an AdaCat model, or names no environment.
    """
    if arguments.checkpoint is not None:
        loaded = load_model(arguments.checkpoint, arguments.use_ema)
        found = loaded.model.config.head.name
        if found != "adacat":
            raise InputError(f"--checkpoint {arguments.checkpoint} is of {found}: logits are compared of adacat alone.")
        robot = loaded.description.get("dataset", {}).get("environment")
        if robot is None:
            raise InputError(f"--checkpoint {arguments.checkpoint} does not say where its dataset was collected.")
        return loaded.model, loaded.normalizer, robot
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 3, n_transitions=5, positions=arguments.positions)).eval()
    return model, MinMaxNormalizer(torch.full((16,), -1.0), torch.full((16,), 1.5)), ROBOT


def compare_decoders(reference: Decoder, other: Decoder, model: GPT, n_environments: int) -> tuple[Tensor, Tensor]:
    """Return relative distances of the logits and divergences of the distributions, over twice the trained block."""
    distances, divergences = [], []
    for p, q in predict_same_tokens([reference, other], model.spec, n_environments, 2 * model.config.n_transitions):
        distances.append(relative_distances(p, q).flatten())
        divergences.append(kl_divergence(p, q).flatten())
    return torch.cat(distances), torch.cat(divergences)


def report(compared: str, measured: str, value: str) -> None:
    """Print a line of the table."""
    print(f"| {compared} | {measured} | {value} |", flush=True)


def report_actions(paired: PairedRun, naive: bool) -> None:
    """Print the differences between the actions of the planners."""
    if naive:
        n_differing = paired.n_differing("naive float64", "float64")
        differences = paired.differences("naive float64", "float64")
        share = f"{n_differing} of {len(differences)}"
        report("cached and naive, float64", "actions that differ after rounding to float32", share)
        report("", "largest difference, of the action's range", f"{differences.max():.1e}")
    for reference, other in (("float64", "float32"), ("float32", "bfloat16")):
        differences = paired.differences(reference, other)
        share = f"{100 * (differences > NOTICEABLE).mean():.1f} % of {len(differences)}"
        report(
            f"{other} and {reference}, cached", f"actions that differ by over {NOTICEABLE:.0%} of their range", share
        )
        report("", "mean difference, of the action's range", f"{differences.mean():.1e}")


def report_predictions(model: GPT, reduced: GPT, contexts: Tensor, window: WindowConfig) -> None:
    """Print the differences between predictions of the same tokens."""
    n = len(contexts)
    decoders = NaiveDecoder(model, contexts, window), CachedDecoder(model, contexts, window)
    distances, _ = compare_decoders(*decoders, model, n)
    report("cached and naive, float32", "largest relative distance of logits", f"{distances.max():.1e}")
    reduced_decoders = CachedDecoder(model, contexts, window), CachedDecoder(reduced, contexts, window)
    distances, divergences = compare_decoders(*reduced_decoders, model, n)
    report("bfloat16 and float32, cached", "largest relative distance of logits", f"{distances.max():.1e}")
    report("", "mean relative distance of logits", f"{distances.mean():.1e}")
    report("", "mean Kullback-Leibler divergence of a token's distribution, nats", f"{divergences.mean():.1e}")
    report("", "median of it, nats", f"{divergences.median():.1e}")


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    arguments = ExactnessArguments().parse(argv)
    check_positive(arguments, "steps", "threads")
    if arguments.seed < 0:
        raise InputError(f"--seed must not be negative, got {arguments.seed}.")
    torch.set_num_threads(arguments.threads)
    limit_onednn_cache()  # for the planner in bfloat16
    model, normalizer, robot = make_model(arguments)
    search = BeamSearchConfig(0.99, arguments.horizon, arguments.beam_width, cdf_act=arguments.cdf_act)
    window = WindowConfig(arguments.window, arguments.max_context_transitions)
    config, reduced = PlannerConfig(search, window), PlannerConfig(search, window, precision="bfloat16")
    double = copy.deepcopy(model).double()
    planners = {
        "float64": Planner(double, normalizer, config),
        "float32": Planner(model, normalizer, config),
        "bfloat16": Planner(copy.deepcopy(model), normalizer, reduced),
    }
    if arguments.naive:
        planners["naive float64"] = Planner(double, normalizer, config, NaiveDecoder)
    paired = PairedRun(planners, robot)
    paired.run(arguments.steps, arguments.seed)
    if not paired.contexts:
        raise InputError(f"--steps {arguments.steps} leave no past to predict from: take more.")
    print("| compared | measured | value |\n|---|---|---|")
    report_actions(paired, arguments.naive)
    contexts = torch.stack(paired.contexts[:: -(-len(paired.contexts) // N_CONTEXTS)])
    report_predictions(planners["float32"].model, planners["bfloat16"].model, contexts, window)


if __name__ == "__main__":
    run_command(main)
