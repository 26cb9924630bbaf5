"""The flags of the plan command, and the trained model and critic that they name."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tap import TapIgnore

from trajectory_adacat.checkpoint import find_checkpoint, read_training
from trajectory_adacat.command_line import OfflineParser, dataset_folder
from trajectory_adacat.environments import Dynamics
from trajectory_adacat.errors import InputError
from trajectory_adacat.evaluation.source import Source
from trajectory_adacat.models.heads.registry import HEADS
from trajectory_adacat.planning.planner import PlannerConfig
from trajectory_adacat.pretrained.folder import Pretrained, find_pretrained, listing

LIST = "list"  # in place of the name of a pretrained model


class PlanArguments(OfflineParser):
    """Plan in the environment with a trained model, and write the result of each rollout."""

    section: TapIgnore[str] = "plan"
    more_sections: TapIgnore[tuple[str, ...]] = ("plan_critic",)
    parameterizations: TapIgnore[tuple[str, ...]] = tuple(HEADS)
    configs: TapIgnore[tuple[type, ...]] = (PlannerConfig,)

    dataset: str  # dataset of the model; --pretrained knows it
    pretrained: str | None = None  # plan with a model that ships, by name, or in a folder of export; list shows them
    exp_name: str = "plans/{gpt_loadpath}/H{horizon}_beam{beam_width}"  # experiment name; {flag} is filled in
    gpt_loadpath: str = "gpt/adacat_0"  # the trained model: a folder below <logbase>/<dataset>, or any path
    gpt_epoch: str = "latest"  # training step of the checkpoint, or latest
    critic: str = "auto"  # critic that scores, implies --scoring critic: a folder, or auto: critic/iql_<model's seed>
    environment: str | None = None  # a dataset's name, a Gymnasium id or module:id; by default the checkpoint's
    env_kwargs: str | None = None  # JSON object of keyword arguments of the environment; by default the checkpoint's
    dynamics: Dynamics | None = None  # D4RL's old dynamics (v2) or the simulator's own (native); by default the data's
    seed: int = 0  # seed of the first episode
    n_rollouts: int = 3  # episodes, with the seeds seed, seed + 1, ..., side by side
    max_episode_length: int | None = None  # cut episodes earlier than the environment does, or at 1000 if it never does
    compile: bool = False  # compile the blocks except attention (torch.compile); no gain on a CPU
    resume: bool = False  # leave out the rollouts whose results are in this experiment's folder already
    overwrite: bool = False  # delete this experiment's results of other settings, another checkpoint or environment
    vis_freq: int = 50  # environment steps between two updates of the returns shown
    step_timeout: float | None = None  # end a rollout whose environment takes more seconds for a step; none: wait
    watch: bool = False  # a line for each rollout in a terminal: return, planned return, speed, latest end
    threads: int = 1  # threads of each process
    processes: int = 1  # processes that share the rollouts, each with its own threads
    record: list[int] | None = None  # record the plans of these rollout seeds, or of all if none is named, for `report`
    record_every: int = 5  # environment steps between two recorded plans
    frames: bool = False  # record a picture of MuJoCo's environment at each recorded plan
    profile: bool = False  # time the third plan by operator, into <experiment>/profile

    def configured(self, parameterization: str | None) -> dict[str, Any]:
        """Return the configuration's values; those of its section "plan_critic" come last if a critic scores."""
        chosen = super().configured(parameterization)
        if "critic" in self.given:
            chosen["scoring"] = "critic"
        if (chosen | self.given).get("scoring") == "critic":
            chosen |= self.section_values("plan_critic", parameterization)
        return chosen

    def configure(self) -> None:
        """Add the flags; --dataset may be left out with --pretrained."""
        super().configure()
        self.add_argument("--dataset", required=False)

    def implied(self) -> dict[str, Any]:
        """Return the flags that --pretrained stands for; ``--pretrained list`` prints the models and exits."""
        name = self.given.get("pretrained")
        if name == LIST:
            print(listing())
            sys.exit()
        if name is not None:
            return pretrained_flags(find_pretrained(name), self.given)
        if "dataset" not in self.given:
            raise InputError("Name the --dataset of a model of yours, or a --pretrained model (list shows them).")
        return {}


def pretrained_flags(pretrained: Pretrained, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that a pretrained model stands for: its dataset, its name, its critic unless another is given.

    Raises:
        InputError: if the given flags name another model, or ask for a critic that it does not have.
    """
    for flag in ("dataset", "gpt_loadpath", "gpt_epoch"):
        if flag in given:
            raise InputError(f"--pretrained {pretrained.name} already says which model: leave out --{flag}.")
    flags = {
        "dataset": read_training(pretrained.model)["dataset"]["name"],
        "gpt_loadpath": f"pretrained/{pretrained.name}",
    }
    if given.get("scoring") == "values" or given.get("critic", "auto") != "auto":
        return flags
    if pretrained.critic is not None:
        return {**flags, "critic": str(pretrained.critic)}
    if "critic" in given or "scoring" in given:
        raise InputError(f"The pretrained model {pretrained.name} has no critic: name a --critic, or plan without one.")
    return flags


def checkpoint_folder(arguments: PlanArguments) -> Path:
    """Return the checkpoint that the flags name.

    Raises:
        InputError: if there is none.
    """
    if arguments.pretrained is not None:
        return find_pretrained(arguments.pretrained).model
    below = Path(arguments.logbase, dataset_folder(arguments.dataset), arguments.gpt_loadpath)
    folder = below if below.exists() else Path(arguments.gpt_loadpath)
    return find_checkpoint(folder if folder.exists() else below, arguments.gpt_epoch)


def critic_folder(arguments: PlanArguments, train_seed: int) -> Path:
    """Return the critic's checkpoint that the flags name.

    Raises:
        InputError: if there is none.
    """
    below = Path(arguments.logbase, dataset_folder(arguments.dataset))
    name = f"critic/iql_{train_seed}" if arguments.critic == "auto" else arguments.critic
    folder = below / name if (below / name).exists() else Path(name)
    if not folder.exists():
        raise InputError(
            f"There is no critic in {below / name}: train one with `trajectory-adacat critic --dataset "
            f"{arguments.dataset} --seed {train_seed}`, or name another by --critic."
        )
    return find_checkpoint(folder, flag="--critic")


def parse(argv: Sequence[str] | None) -> tuple[PlanArguments, Source]:
    """Return the flags, with the configuration's values for the parameterization of the checkpoint that they name.

    Raises:
        InputError: if the checkpoint is missing or of another dataset, or a flag is wrong.
    """
    arguments = PlanArguments.new().parse(argv)
    folder = checkpoint_folder(arguments)
    description = read_training(folder)
    trained_on = description["dataset"]["name"]
    if trained_on != arguments.dataset:
        raise InputError(f"The checkpoint {folder} was trained on {trained_on}, not on --dataset {arguments.dataset}.")
    arguments.use_parameterization(description["parameterization"])
    source = Source.of_model(folder, description)
    if "critic" in arguments.given and arguments.arguments()["scoring"] == "values":
        raise InputError("--critic has no effect with --scoring values: leave one of them out.")
    if arguments.arguments()["scoring"] != "critic":
        return arguments, source
    return arguments, source.with_critic(critic_folder(arguments, description["train_seed"]))
