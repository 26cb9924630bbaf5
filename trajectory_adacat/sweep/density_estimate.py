"""Estimate how long trainings of density models take, from the logs of earlier ones."""

from collections.abc import Mapping
from pathlib import Path

from trajectory_adacat.sweep.estimate import START_SECONDS, Arguments, Estimate, read_trainings

# Where nothing is measured: mean seconds of a step in results/density, one core of an AMD EPYC, preset `small`.
STEP_SECONDS = {"tabular": 0.02, "images": 0.17, "audio": 0.022}
SMALL_WORK = {"tabular": 512 * 2 * 64**2, "images": 16 * 2 * (64 / 2) ** 2, "audio": 4 * 512 * 7 * 16**2}
EXAMPLES = 100_000  # of an epoch; the number is in the data, which are not read for an estimate
# A step of trainings with equal values of these flags, as far as they have them, takes about as long.
SIZE = (
    *("dataset", "device", "batch_size", "hidden", "n_hidden", "frequencies", "shrink", "n_layer", "n_head", "n_embd"),
    *("crop", "hop", "n_layers", "residual", "skip"),
)
OUTPUTS = ("n_bins", "N", "n_components")


class DensityEstimator:
    """Estimate durations from the trainings in a folder of logs; the final test and the samples are left out.

    Args:
        experiment: ``tabular``, ``images`` or ``audio``.
        logbase: the folder.
    """

    def __init__(self, experiment: str, logbase: Path) -> None:
        self._experiment = experiment
        self._trainings = list(read_trainings(logbase, _seconds_per_step))

    def training(self, arguments: Arguments) -> Estimate:
        """Estimate a training from those of the same size, of the same form and number of outputs if there are any.

        Args:
            arguments: the values of its flags.
        """
        n_steps = _steps(arguments)
        same_size = [
            (logged, seconds)
            for logged, seconds in self._trainings
            if all(logged.get(name) == arguments.get(name) for name in SIZE)
        ]
        if not same_size:
            share = _work(self._experiment, arguments) / SMALL_WORK[self._experiment]
            return Estimate(START_SECONDS + n_steps * STEP_SECONDS[self._experiment] * share, False)
        closest = max(_likeness(logged, arguments) for logged, _ in same_size)
        found = [seconds for logged, seconds in same_size if _likeness(logged, arguments) == closest]
        return Estimate(START_SECONDS + n_steps * sum(found) / len(found), True)


def _seconds_per_step(line: Mapping[str, float]) -> float:
    return line["seconds/wall"] / line["step"]


def _likeness(logged: Arguments, arguments: Arguments) -> tuple[bool, bool]:
    same_outputs = all(logged.get(name) == arguments.get(name) for name in OUTPUTS)
    return logged.get("form") == arguments["form"], same_outputs


def _steps(arguments: Arguments) -> float:
    if arguments["n_epochs"] is None:
        return float(arguments["n_steps"])
    return float(arguments["n_epochs"]) * EXAMPLES / arguments["batch_size"]


def _work(experiment: str, arguments: Arguments) -> float:
    """Return a number in proportion to the arithmetic of a step."""
    n = arguments["batch_size"]
    if experiment == "tabular":
        return n * arguments["n_hidden"] * arguments["hidden"] ** 2
    if experiment == "images":
        width = arguments["n_head"] * arguments["n_embd"]
        return n * arguments["n_layer"] * (width / arguments["shrink"]) ** 2
    return n * arguments["crop"] * arguments["n_layers"] * arguments["residual"] ** 2
