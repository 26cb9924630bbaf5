"""Write a trained model and its critic as a small folder that can plan but not go on training."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trajectory_adacat.checkpoint import export_average, load_model
from trajectory_adacat.critic.checkpoint import export_critic, load_critic
from trajectory_adacat.critic.matching import check_match
from trajectory_adacat.pretrained.card import render
from trajectory_adacat.pretrained.folder import CRITIC, MODEL, RETURNS, Pretrained
from trajectory_adacat.pretrained.returns import gather_returns
from trajectory_adacat.training.logger import METRICS_FILE, read_metrics

KEPT_METRICS = ("held_out", "seconds_per_step")  # beginnings of their names


def metrics_of(checkpoint: Path, description: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured at a checkpoint's step: from the log in the folder above it, or as an export recorded.

    Args:
        checkpoint: folder of the checkpoint.
        description: the checkpoint's.
    """
    if "metrics" in description:
        return description["metrics"]
    folder = checkpoint.parent
    lines = read_metrics(folder) if (folder / METRICS_FILE).exists() else []
    last = next((line for line in reversed(lines) if line["step"] == description["step"]), {})
    return {name: value for name, value in last.items() if name.startswith(KEPT_METRICS)}


def export(
    model: Path,
    critic: Path | None,
    rollouts: Sequence[Path],
    folder: Path,
    commands: Mapping[str, str],
    overwrite: bool = False,
) -> Pretrained:
    """Write the folder of a pretrained model.

    Args:
        model: folder of the model's checkpoint.
        critic: folder of the critic's, or None.
        rollouts: results files or folders of trainings like the model's, for the card.
        folder: what to write; its name becomes the model's.
        commands: the command line that trains each, by "model" and "critic".
        overwrite: replace the folder if it exists.

    Raises:
        InputError: if a checkpoint is damaged, the critic is not the model's, or the rollouts are of other trainings.
    """
    loaded = load_model(model, use_ema=True)
    records = gather_returns(rollouts, loaded.description)
    temporary = folder.with_name(f".{folder.name}.writing") / folder.name
    shutil.rmtree(temporary.parent, ignore_errors=True)  # left by a killed process
    try:
        facts = {"command": commands[MODEL], "metrics": metrics_of(model, loaded.description)}
        export_average(model, temporary / MODEL, facts)
        if critic is not None:
            of_critic = load_critic(critic)
            check_match(of_critic, loaded)
            facts = {"command": commands[CRITIC], "metrics": metrics_of(critic, of_critic.description)}
            export_critic(critic, temporary / CRITIC, facts)
        (temporary / RETURNS).write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        written = Pretrained(temporary)
        written.card.write_text(render(written), encoding="utf-8")
        if overwrite:
            shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)
    return Pretrained(folder)
