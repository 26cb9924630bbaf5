"""Convert the settings of older checkpoints and of their results to today's.

In format 1 they are one flat list of flags.
"""

from collections.abc import Mapping
from typing import Any

DATA = ("subsampled_sequence_length", "step", "discount", "termination_penalty", "holdout_fraction")
MODEL = ("n_layer", "n_head", "n_embd", "positions", "embd_pdrop", "attn_pdrop", "resid_pdrop")
SCALAR_HEAD = ("embedding", "standardize", "n_bins", "smooth_coeff", "smooth_type")
LOSS = ("action_weight", "reward_weight", "value_weight")
ADAMW = ("learning_rate", "weight_decay", "beta1", "beta2")
SCHEDULE = ("lr_decay", "warmup_epochs", "final_epochs", "lr_schedule_end")
TRAINER = ("batch_size", "grad_norm_clip", *SCHEDULE, "ema_decay", "n_epochs_ref", "n_steps", "precision")
ADDED_LATER = {"positions": "learned", "precision": "float32"}  # the oldest results lack these flags

# What all models had before the setting existed.
MODEL_ADDED_LATER = {"offset_init": "normal", "head_init": "normal"}


def is_flat(training: Mapping[str, Any]) -> bool:
    """Return whether the settings of a training are flat, as in format 1."""
    return "parameterization" in training


def nested_training(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training nested, without those that had no effect."""
    flat = {**ADDED_LATER, **flat}
    parameterization, optimizer = flat["parameterization"], flat["optimizer"]
    idle = {"n_epochs_ref"} if flat["n_steps"] is not None else set()
    if not flat["lr_decay"]:
        idle |= set(SCHEDULE) - {"lr_decay"}
    elif flat["final_epochs"] is None:
        idle.add("lr_schedule_end")
    if not flat["smooth_coeff"]:
        idle.add("smooth_type")

    def pick(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: flat[name] for name in names if name not in idle}

    head = pick(SCALAR_HEAD) if parameterization == "adacat" else pick(("N",))
    rates = (*ADAMW, "muon_learning_rate") if optimizer == "muon" else ADAMW
    nested = {
        "data": pick(DATA),
        "model": {**MODEL_ADDED_LATER, "head": {"name": parameterization, **head}, **pick(MODEL)},
        "loss": pick(LOSS),
        "trainer": {"optimizer": {"name": optimizer, **pick(rates)}, **pick(TRAINER)},
    }
    return {**nested, "dataset": flat["dataset"]} if "dataset" in flat else nested


def nested_model(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model config of a checkpoint of format 1 nested."""
    rest = {key: value for key, value in flat.items() if key not in ("parameterization", "n_bins", "embedding")}
    name, n_bins = flat["parameterization"], flat["n_bins"]
    head = {"n_bins": n_bins, "embedding": flat["embedding"]} if name == "adacat" else {"N": n_bins}
    return {**MODEL_ADDED_LATER, "head": {"name": name, **head}, **rest}


def nested_planner(planner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the planner settings of an old result with today's names, without those that had no effect."""
    planner = dict(planner)
    if "search" in planner and "scoring" not in planner:
        planner["scoring"] = {"name": "values"}  # there were no critics
    if "kind" in planner.get("window", {}):
        window = dict(planner["window"])
        planner["window"] = {"window": window.pop("kind"), **window}
    if planner.get("search", {}).get("horizon") == 1:
        idle = ("k_obs", "cdf_obs", "drop_obs")
        planner["search"] = {key: value for key, value in planner["search"].items() if key not in idle}
    return planner
