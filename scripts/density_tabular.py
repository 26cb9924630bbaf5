"""Train a density model of a table: ``trajectory-adacat density tabular --dataset casp``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tap import TapIgnore

from trajectory_adacat.command_line import run_command
from trajectory_adacat.density.splits import Splits
from trajectory_adacat.density.tabular import TabularConfig, TabularObjective
from trajectory_adacat.density.tabular_data import load_table
from trajectory_adacat.scripts.density_training import DensityParser, train_density
from trajectory_adacat.training.config import BasicRunConfig


class TabularArguments(DensityParser):
    """Train an autoregressive density model of a table (the paper's Section 4.1) and test it."""

    section: TapIgnore[str] = "tabular"
    configs: TapIgnore[tuple[type, ...]] = (TabularConfig, BasicRunConfig)

    dataset: str  # casp, ccpp, grid (make tables), power, gas, hepmass or miniboone
    exp_name: str = "tabular/{form}_{seed}"  # experiment name; {flag} stands for another flag's value
    data: Path = Path("data/tables")  # folder of the tables

    def load_data(self, config: TabularConfig) -> Splits:
        """Read the table."""
        return load_table(self.dataset, self.data)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, test and write the result."""
    arguments = TabularArguments().parse(argv)

    def make_objective(config: TabularConfig, device: torch.device) -> tuple[TabularObjective, dict[str, Any]]:
        data = arguments.load_data(config)
        sizes = {"rows": [len(data.training), len(data.validation), len(data.test)]}
        return TabularObjective(config.model, data, device), {"sha256": data.sha256, **sizes}

    train_density(arguments, argv, TabularConfig, make_objective)


if __name__ == "__main__":
    run_command(main)
