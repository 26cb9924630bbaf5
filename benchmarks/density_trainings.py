"""What the comparisons of density models share: methods by name, common flags, and what is trained already."""

from pathlib import Path

from trajectory_adacat.command_line import CommandParser
from trajectory_adacat.evaluation.density_results import RESULTS_FILE, load_density_results
from trajectory_adacat.scripts import density
from trajectory_adacat.scripts.density_training import DensityParser
from trajectory_adacat.settings import to_nested

# The name of a method: its form, and the settings that differ from those of the preset.
Methods = dict[str, tuple[str, dict[str, str]]]


class ComparisonArguments(CommandParser):
    """Train several methods with several seeds."""

    seeds: list[int] = [0, 1, 2]  # training seeds
    preset: str = "small"  # preset of the trainings
    device: str = "cpu"  # torch device
    logbase: str = "logs/density"  # folder of the trainings
    data: Path  # folder of the data
    out: Path  # folder of the results and of the first seed's samples
    more: list[str] = []  # further flags of all trainings, as flag=value

    def training_flags(self, name: str, form: str, seed: int, settings: dict[str, str]) -> list[str]:
        """Return the flags of one training; its folder is named by ``name``, the further flags and the seed."""
        exp_name = "_".join([name, *self.more, str(seed)]).replace("=", "")
        flags = ["--preset", self.preset, "--form", form, "--seed", str(seed), "--exp_name", exp_name]
        flags += ["--device", self.device, "--data", str(self.data), "--logbase", self.logbase]
        flags += ["--out", str(self.out), *(f"--{flag}" for flag in self.more)]
        return flags + [text for name, value in settings.items() for text in (f"--{name}", value)]


def train_missing(experiment: str, parser: type[DensityParser], kind: type, flags: list[str]) -> Path | None:
    """Run a training, or go on with an interrupted one, and return its folder; None if its result is there.

    The data are not compared: give other data another folder of results.
    """
    parsed = parser().parse(flags)
    wanted = parsed.form, parsed.seed, to_nested(parsed.settings(kind))
    assert parsed.out is not None  # one of the flags
    found = load_density_results([parsed.out]) if (parsed.out / RESULTS_FILE).exists() else []
    if wanted in [(result.form, result.seed, result.settings) for result in found]:
        return None
    density.main([experiment, *flags, *(["--resume"] if list(parsed.savepath.glob("step_*")) else [])])
    return parsed.savepath
