"""What the plan command records, by its flags."""

import importlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.recorder import RecordConfig
from trajectory_adacat.extras import name_missing_extra
from trajectory_adacat.provenance import git_revision, library_versions, processor
from trajectory_adacat.recording import FOLDER
from trajectory_adacat.scripts.plan_arguments import PlanArguments
from trajectory_adacat.scripts.plan_setting import Setting


def record_config(arguments: PlanArguments, setting: Setting, argv: Sequence[str] | None) -> RecordConfig | None:
    """Return what to record, by the flags; None for nothing.

    Raises:
        InputError: for a flag without effect, a seed that is not planned, or frames that cannot be encoded.
    """
    if arguments.record is None:
        idle = [f"--{name}" for name in ("record_every", "frames") if name in arguments.given]
        if idle:
            raise InputError(f"{idle[0]} has no effect without --record.")
        return None
    planned = range(arguments.seed, arguments.seed + arguments.n_rollouts)
    others = [seed for seed in arguments.record if seed not in planned]
    if others:
        raise InputError(f"--record {others[0]} is no rollout seed here: they are {planned[0]} to {planned[-1]}.")
    if arguments.frames:
        with name_missing_extra():
            importlib.import_module("imageio_ffmpeg")
    return RecordConfig(
        folder=arguments.savepath / FOLDER,
        every=arguments.record_every,
        seeds=frozenset(arguments.record) or None,
        frames=arguments.frames,
        description=describe_recording(setting, sys.argv[1:] if argv is None else argv),
    )


def describe_recording(setting: Setting, argv: Sequence[str]) -> dict[str, Any]:
    """Return what a recording depends on: the keys of a result, and the command."""
    description = setting.checkpoint.description
    return {
        "command": shlex.join(["trajectory-adacat", "plan", *argv]),
        "dataset": description["dataset"]["label"],
        "parameterization": description["parameterization"],
        "train_seed": description["train_seed"],
        "checkpoint": setting.checkpoint.hash,
        "step": description["step"],
        "planner": setting.planner,
        "environment": setting.environment,
        "references": None if setting.references is None else list(setting.references),
        "versions": {**library_versions(), "processor": processor()},
        "git_revision": git_revision(),
    }
