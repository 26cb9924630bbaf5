"""Settings as checkpoints of format 1 and the results made with them recorded them: one flat list of flags."""

from collections.abc import Mapping
from typing import Any

DATA = ("subsampled_sequence_length", "step", "discount", "termination_penalty", "holdout_fraction")
MODEL = ("n_layer", "n_head", "n_embd", "positions", "embd_pdrop", "attn_pdrop", "resid_pdrop")
SCALAR_HEAD = ("embedding", "standardize", "n_bins", "smooth_coeff", "smooth_type")
LOSS = ("action_weight", "reward_weight", "value_weight")
ADAMW = ("learning_rate", "weight_decay", "beta1", "beta2")
SCHEDULE = ("lr_decay", "warmup_epochs", "final_epochs", "lr_schedule_end")
TRAINER = ("batch_size", "grad_norm_clip", *SCHEDULE, "ema_decay", "n_epochs_ref", "n_steps", "precision")
YOUNGER = {"positions": "learned", "precision": "float32"}  # flags that the oldest results lack


def is_flat(training: Mapping[str, Any]) -> bool:
    """Whether a training's settings are of the old, flat form."""
    return "parameterization" in training


def nested_training(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training in today's nested form, without those that had no effect."""
    flat = {**YOUNGER, **flat}
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
        "model": {"head": {"name": parameterization, **head}, **pick(MODEL)},
        "loss": pick(LOSS),
        "trainer": {"optimizer": {"name": optimizer, **pick(rates)}, **pick(TRAINER)},
    }
    return {**nested, "dataset": flat["dataset"]} if "dataset" in flat else nested


def nested_model(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of a model, of a checkpoint of format 1, in today's nested form."""
    rest = {key: value for key, value in flat.items() if key not in ("parameterization", "n_bins", "embedding")}
    name, n_bins = flat["parameterization"], flat["n_bins"]
    head = {"n_bins": n_bins, "embedding": flat["embedding"]} if name == "adacat" else {"N": n_bins}
    return {"head": {"name": name, **head}, **rest}


def nested_planner(planner: Mapping[str, Any]) -> dict[str, Any]:
    """Return a planner's settings, as old results recorded them, in today's form."""
    planner = dict(planner)
    if "kind" in planner.get("window", {}):
        window = dict(planner["window"])
        planner["window"] = {"window": window.pop("kind"), **window}
    if planner.get("search", {}).get("horizon") == 1:
        idle = ("k_obs", "cdf_obs", "drop_obs")
        planner["search"] = {key: value for key, value in planner["search"].items() if key not in idle}
    return planner
