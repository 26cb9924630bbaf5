"""Whether a critic and a model belong together."""

import torch

from trajectory_adacat.checkpoint import Checkpoint
from trajectory_adacat.critic.checkpoint import LoadedCritic
from trajectory_adacat.errors import InputError


def check_match(critic: LoadedCritic, model: Checkpoint) -> None:
    """Check that a critic was trained on what the model was trained on.

    Raises:
        InputError: if their sizes, data, discounts or splits differ.
    """
    form, spec = critic.critic.form, model.model.spec
    if (form.observation_size, form.action_size) != (spec.observation_size, spec.action_size):
        raise InputError(
            f"The critic has observations and actions of sizes {form.observation_size} and {form.action_size}, the "
            f"model of {spec.observation_size} and {spec.action_size}: name a critic of the model's dataset."
        )
    theirs, ours = critic.description, model.description
    if theirs["dataset"]["sha256"] != ours["dataset"]["sha256"]:
        raise InputError(
            f"The critic was trained on {theirs['dataset']['label']}, the model on other data (the hashes differ): "
            "name a critic of the model's dataset."
        )
    if theirs["discount"] != ours["discount"]:
        raise InputError(
            f"The critic's discount is {theirs['discount']}, the model's {ours['discount']}: train one of them again."
        )
    bounds, own = critic.normalizer.state_dict(), model.normalizer.state_dict()
    if not all(torch.equal(bounds[name].cpu(), own[name].cpu()) for name in own):
        raise InputError(
            "The critic's bounds of the data are not the model's: train it with the model's --seed "
            f"{ours['train_seed']}, --holdout_fraction and --termination_penalty."
        )
