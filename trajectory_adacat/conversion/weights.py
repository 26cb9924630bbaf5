"""Rename and reshape the weights of Trajectory Transformer and AdaCat's code for this package's model."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trajectory_adacat.errors import InputError
from trajectory_adacat.models.gpt import GPT, GPTConfig

BLOCK_PARTS = {
    "ln1": "attention_norm",
    "ln2": "mlp_norm",
    "attn.proj": "attention.project",
    "mlp.0": "expand",
    "mlp.2": "contract",
}
PROJECTIONS = ("attn.query", "attn.key", "attn.value")  # one matrix here, in this order


def convert_weights(weights: Mapping[str, Tensor], config: GPTConfig, edges: Tensor | None) -> GPT:
    """Return this package's model with the weights of theirs, in evaluation mode.

    The output of the stop token, which bins of the baselines have there, and its embedding are left out.

    Args:
        weights: by their names.
        config: form of the model.
        edges: of fixed bins, ``[D, N + 1]``, or None for AdaCat.

    Raises:
        InputError: if a weight is missing or has another shape.
    """
    try:
        state = _shared(weights, config.n_layer)
        state |= _scalar_head(weights) if edges is None else _bin_head(weights, edges)
        model = GPT(config)
        model.load_state_dict(state)
    except (KeyError, RuntimeError, IndexError) as error:
        raise InputError(f"The weights do not fit the folder's model_config.pkl: {error}") from error
    return model.eval()


def _shared(weights: Mapping[str, Tensor], n_layer: int) -> dict[str, Tensor]:
    state = {"positions.weight": weights["pos_emb"][0]}
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = weights[f"ln_f.{kind}"]
        for i in range(n_layer):
            block = f"blocks.{i}"
            for old, new in BLOCK_PARTS.items():
                state[f"{block}.{new}.{kind}"] = weights[f"{block}.{old}.{kind}"]
            parts = [weights[f"{block}.{projection}.{kind}"] for projection in PROJECTIONS]
            state[f"{block}.attention.qkv.{kind}"] = torch.cat(parts)
    return state


def _head(weights: Mapping[str, Tensor]) -> Tensor:
    """Return the output matrices by the dimension that they predict, ``[D, C, outputs]``; theirs go by the input."""
    return weights["head.weight"].roll(1, 0).transpose(1, 2)


def _scalar_head(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        "embedding.weight": weights["encoder.weight"].T,
        "embedding.bias": weights["encoder.bias"][None],
        "embedding.mean": torch.zeros(len(weights["head.weight"])),  # theirs does not standardize
        "embedding.std": torch.ones(len(weights["head.weight"])),
        "head.weight": _head(weights),
    }


def _bin_head(weights: Mapping[str, Tensor], edges: Tensor) -> dict[str, Tensor]:
    return {
        "embedding.weight": weights["tok_emb.weight"][:-1],
        "embedding.edges": edges,
        "head.weight": _head(weights)[..., :-1],
        "head.edges": edges,
    }
