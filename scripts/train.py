"""Trains a model on an offline dataset: ``python scripts/train.py --dataset hopper-medium-v2 --seed 0``."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tap import TapIgnore

from trajectory_adacat.checkpoint import NAME, find_checkpoint, read_description, read_tensors
from trajectory_adacat.checks import check_positive
from trajectory_adacat.computing import use_device, use_threads
from trajectory_adacat.configuration import OfflineParser, pick, run_command
from trajectory_adacat.datasets import Dataset, load_dataset
from trajectory_adacat.datasets.normalization import MinMaxNormalizer
from trajectory_adacat.datasets.sequences import SequenceDataset, Trajectories, split_episodes
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.embeddings import ScalarEmbedding
from trajectory_adacat.models.gpt import GPT, GPTConfig
from trajectory_adacat.models.heads import quantile_edges
from trajectory_adacat.models.loss import LossConfig
from trajectory_adacat.profiling import StepProfile, table_path
from trajectory_adacat.training.config import TrainerConfig
from trajectory_adacat.training.distributed import World, process_group
from trajectory_adacat.training.trainer import Trainer
from trajectory_adacat.transition import TransitionSpec

# Flags that do not define the method: runs that differ in these alone are runs of one method.
WITHOUT_EFFECT = {
    *("seed", "exp_name", "suffix", "logbase", "device", "threads", "verbose", "resume", "overwrite"),
    *("dataset_path", "config", "preset", "n_saves", "log_freq", "accumulate", "compile", "profile"),
}
HOW_LONG = {"n_steps", "n_epochs_ref"}  # a resumed run may be longer than it was meant to be


class TrainArguments(OfflineParser):
    """Train a Trajectory Transformer with AdaCat, uniform or quantile outputs."""

    section: TapIgnore[str] = "train"

    dataset_path: str | None = None  # read the dataset from this file in place of the cache
    exp_name: str = "gpt/{parameterization}_{seed}"  # experiment name; {flag} stands for another flag's value
    parameterization: Literal["adacat", "uniform", "quantile"] = "adacat"  # the form of the outputs
    n_bins: int = 50  # AdaCat's number of bins k (2k outputs)
    N: int = 100  # number of fixed bins of uniform and quantile
    n_layer: int = 4  # transformer blocks
    n_head: int = 4  # attention heads
    n_embd: int = 32  # width of each head
    embedding: Literal["shared", "per_dimension"] = "shared"  # AdaCat's scalar embedding: one vector, or one for each
    positions: Literal["learned", "rotary"] = "learned"  # learned for each place, or rotary over transitions
    standardize: bool = False  # standardize the scalar embedding's inputs (targets stay min-max normalized)
    embd_pdrop: float = 0.1  # dropout of the embedding
    attn_pdrop: float = 0.1  # dropout of the attention weights
    resid_pdrop: float = 0.1  # dropout of the residual branches
    subsampled_sequence_length: int = 10  # transitions in a training sequence
    step: int = 1  # distance between the transitions of a sequence
    discount: float = 0.99  # discount of the values
    termination_penalty: float | None = -100.0  # reward in place of a real terminal's; none for its own
    holdout_fraction: float = 0.05  # share of the episodes kept for evaluation
    smooth_coeff: float = 0.001  # lambda: the uniform kernel's full width, the normal one's scale; 0 for no smoothing
    smooth_type: Literal["uniform", "normal"] = "uniform"  # smoothing kernel
    action_weight: float = 5.0  # weight of the actions in the loss
    reward_weight: float = 1.0  # weight of the rewards in the loss
    value_weight: float = 1.0  # weight of the values in the loss
    batch_size: int = 256  # sequences in a step, of all processes together
    accumulate: int = 1  # parts in which a step's batch is computed, to save memory
    optimizer: Literal["adamw", "muon"] = "adamw"  # AdamW, or Muon for the blocks' matrices and AdamW for the rest
    learning_rate: float = 6e-4  # AdamW's highest learning rate
    muon_learning_rate: float = 0.02  # Muon's highest learning rate
    weight_decay: float = 0.1  # weight decay of the matrices
    beta1: float = 0.9  # AdamW's first decay rate
    beta2: float = 0.95  # AdamW's second decay rate
    grad_norm_clip: float = 1.0  # largest norm of the gradient
    lr_decay: bool = True  # warm the learning rate up and decay it, by tokens
    warmup_epochs: float = 1.0  # warm-up, in epochs' tokens
    final_epochs: float | None = 20.0  # end of the cosine, in epochs' tokens; none for the end of the training
    lr_schedule_end: Literal["hold", "rise"] = "hold"  # the rate afterwards: a tenth, or rising as in the released code
    ema_decay: float = 0.995  # decay of the moving average of the weights
    n_epochs_ref: float = 50.0  # epochs for a dataset of a million transitions; others take the same number of steps
    n_steps: int | None = None  # number of steps, in place of n_epochs_ref
    precision: Literal["float32", "bfloat16"] = "float32"  # of the blocks' matrix products
    compile: bool = False  # compile the model without its heads by torch.compile
    profile: bool = False  # time the first steps by operator, into <experiment>/profile
    n_saves: int = 3  # checkpoints in all
    log_freq: int = 100  # steps between two log lines
    threads: int = 1  # threads of this process
    resume: bool = False  # go on from the latest checkpoint of this experiment
    overwrite: bool = False  # delete this experiment's checkpoints and start anew


def model_config(arguments: TrainArguments, spec: TransitionSpec) -> GPTConfig:
    """The model's form, by the flags and the data's sizes."""
    return pick(
        GPTConfig,
        arguments,
        observation_size=spec.observation_size,
        action_size=spec.action_size,
        n_transitions=arguments.subsampled_sequence_length,
        n_bins=arguments.n_bins if arguments.parameterization == "adacat" else arguments.N,
    )


def check_flags(arguments: TrainArguments) -> None:
    """Checks what can be checked before any data is collected, fetched or read.

    Raises:
        InputError: for a value out of range, or flags that exclude each other.
    """
    check_positive(arguments, "n_bins", "N", "subsampled_sequence_length", "step", "n_steps")
    if not 0 < arguments.n_epochs_ref < math.inf:
        raise InputError(f"--n_epochs_ref must be finite and above 0, got {arguments.n_epochs_ref}.")
    if arguments.resume and arguments.overwrite:
        raise InputError("--resume goes on from the checkpoints that --overwrite would delete: give one of them.")
    model_config(arguments, TransitionSpec(1, 1))
    pick(LossConfig, arguments)
    pick(TrainerConfig, arguments, n_steps=1)


def make_model(arguments: TrainArguments, spec: TransitionSpec, tokens: torch.Tensor, device: torch.device) -> GPT:
    """The model on its device, with the statistics that it takes from the training tokens ``[n, D]``."""
    config = model_config(arguments, spec)
    torch.manual_seed(arguments.seed)
    edges = quantile_edges(tokens, arguments.N) if arguments.parameterization == "quantile" else None
    model = GPT(config, edges)
    if arguments.standardize and isinstance(model.embedding, ScalarEmbedding):
        model.embedding.set_statistics(tokens.mean(0), tokens.std(0))
    return model.to(device)


def n_steps(arguments: TrainArguments, n_windows: int) -> int:
    """Optimizer steps in all: those asked for, or 1e6 / dataset size * n_epochs_ref epochs."""
    if arguments.n_steps is not None:
        return arguments.n_steps
    epochs = max(1, int(1e6 / n_windows * arguments.n_epochs_ref))
    return epochs * (n_windows // min(arguments.batch_size, n_windows))


def describe(arguments: TrainArguments, dataset: Dataset) -> dict[str, Any]:
    """What the checkpoints say of their training."""
    returns = [float(np.sum(episode.rewards, dtype=np.float64)) for episode in dataset.episodes]
    return {
        "parameterization": arguments.parameterization,
        "discount": arguments.discount,
        "train_seed": arguments.seed,
        "dataset": {
            "name": dataset.name,
            "label": dataset.label,
            "sha256": dataset.sha256,
            "verified": dataset.verified,
            "environment": dataset.environment,
            "mean_return": float(np.mean(returns)),
        },
        "training": {name: value for name, value in arguments.arguments().items() if name not in WITHOUT_EFFECT},
    }


def old_checkpoints(arguments: TrainArguments) -> list[Path]:
    """The checkpoints that the experiment's folder holds already.

    Raises:
        InputError: if there are any and neither --resume nor --overwrite is given.
    """
    folder = arguments.savepath
    found = [path for path in folder.glob("step_*") if NAME.fullmatch(path.name)]
    if found and not (arguments.resume or arguments.overwrite):
        raise InputError(
            f"{folder} holds checkpoints: go on from them with --resume, replace them with --overwrite, or choose "
            "another --exp_name."
        )
    return found


def resume(trainer: Trainer, checkpoint: Path) -> None:
    """Loads a checkpoint's whole state into the trainer.

    Raises:
        InputError: if it is damaged, or was trained on other data or with other settings.
    """
    description = read_description(checkpoint)
    now = trainer.description
    if description["dataset"]["sha256"] != now["dataset"]["sha256"]:
        raise InputError(f"{checkpoint} was trained on other data (its hash differs): --resume needs the same file.")
    before, asked = ({**d["training"], "seed": d["train_seed"]} for d in (description, now))
    for name, value in asked.items():
        trained = before.get(name, getattr(TrainArguments, name, None))  # younger flags than the checkpoint
        if name not in HOW_LONG and trained != value:
            raise InputError(
                f"{checkpoint} was trained with --{name} {trained}, not {value}: --resume goes on with the same "
                "settings. For others choose another --exp_name."
            )
    names = ("model.safetensors", "ema.safetensors", "training.safetensors")
    trainer.load_state(description["step"], *(read_tensors(checkpoint, name, description) for name in names))


def make_trainer(
    arguments: TrainArguments, dataset: Dataset, device: torch.device, world: World
) -> tuple[Trainer, int]:
    """The trainer of this process, before its first step, and the number of episodes that are too short for it.

    Raises:
        InputError: if the data do not suffice for what is asked of them.
    """
    spec = TransitionSpec(dataset.episodes[0].observations.shape[1], dataset.episodes[0].actions.shape[1])
    parts = split_episodes(dataset.episodes, arguments.holdout_fraction, arguments.seed)
    flat = [
        Trajectories.from_episodes(part, arguments.discount, arguments.termination_penalty) for part in parts if part
    ]
    normalizer = MinMaxNormalizer.fit(flat[0].transitions)
    length, step = arguments.subsampled_sequence_length, arguments.step
    windows = [SequenceDataset(part, normalizer, spec, length, step, device) for part in flat]
    trainer = Trainer(
        make_model(arguments, spec, windows[0].tokens, device),
        windows[0],
        windows[1] if len(windows) > 1 else None,
        normalizer,
        pick(LossConfig, arguments),
        pick(TrainerConfig, arguments, n_steps=n_steps(arguments, len(windows[0]))),
        arguments.savepath,
        describe(arguments, dataset),
        arguments.verbose,
        world,
    )
    return trainer, sum(part.n_skipped for part in flat)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains and leaves checkpoints and logs in ``<logbase>/<dataset>/<exp_name>``, in all processes of torchrun."""
    with process_group() as world:
        with world.raise_everywhere():
            arguments = TrainArguments().parse(argv)
            check_flags(arguments)
            use_threads(arguments.threads)
            device = use_device(world.device(arguments.device))
            if device.type == "cuda" and device.index is not None:
                torch.cuda.set_device(device)  # where the processes' messages go
            old = old_checkpoints(arguments)
            checkpoint = find_checkpoint(arguments.savepath) if arguments.resume else None
        dataset = world.rank0_first(lambda: load_dataset(arguments.dataset, arguments.dataset_path))
        with world.raise_everywhere():
            trainer, n_skipped = make_trainer(arguments, dataset, device, world)
            if checkpoint is not None:
                resume(trainer, checkpoint)
        if world.is_rank0:
            if arguments.overwrite:
                for path in old:  # not before all that could be refused has been accepted
                    shutil.rmtree(path)
            arguments.savepath.mkdir(parents=True, exist_ok=True)
            arguments.save_arguments(arguments.savepath / "arguments.json")
            if arguments.verbose:
                _report(dataset, trainer, n_skipped, arguments)
        if arguments.profile and world.is_rank0:
            with StepProfile(arguments.savepath / "profile", device=device) as profile:
                trainer.train(profile.step)
            if arguments.verbose and table_path(profile.folder).exists():
                print(f"profile of the first steps -> {profile.folder}")
        else:
            trainer.train()


def _report(dataset: Dataset, trainer: Trainer, n_skipped: int, arguments: TrainArguments) -> None:
    n_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    held_out = trainer.held_out
    print(f"{dataset.label}: {len(dataset.episodes)} episodes, {len(trainer.training)} training windows", end="")
    print(f", {len(held_out)} held out" if held_out is not None else "", end="; ")
    print(f"{arguments.parameterization} model of {n_parameters:,} parameters -> {arguments.savepath}")
    if n_skipped:
        print(f"skipped {n_skipped} episodes shorter than two steps")
    if held_out is not None and held_out.n_clamped:
        print(f"clamped {held_out.n_clamped} held-out values outside the training data's bounds")
    if arguments.device == "cpu" and arguments.attn_pdrop > 0:
        print("dropout of the attention weights more than doubles a step's time on a CPU: --attn_pdrop 0 is without")


if __name__ == "__main__":
    run_command(main)
