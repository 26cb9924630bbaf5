"""Training folders in the layout of Trajectory Transformer and of AdaCat's code, and a forward pass by their names."""

import base64
import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

N_OBS, N_ACT, L, WIDTH, HEADS, LAYERS = 3, 2, 4, 8, 2, 2
D = N_OBS + N_ACT + 2
N, K = 6, 5
LENGTHS = (40, 25, 34)  # of the episodes
N_WINDOWS = sum(LENGTHS) - 1 - len(LENGTHS)  # the last row is dropped, and no window starts at a path's last row
DATASET = "own"


def write_data(
    path: Path, lengths: tuple[int, ...] = LENGTHS, seed: int = 0, sizes: tuple[int, int] = (N_OBS, N_ACT)
) -> Path:
    """Write a D4RL-format file: the first episode ends by a time limit, the others by a terminal.

    N_ACT third of the second observation is clipped at either end, so that thresholds coincide.
    """
    generator = np.random.default_rng(0)
    rows, ends = sum(lengths), np.cumsum(lengths) - 1
    observations = generator.normal(size=(rows, sizes[0]))
    observations[:, 1] = observations[:, 1].clip(-0.4, 0.4)
    with h5py.File(path, "w") as file:
        file["observations"] = observations.astype(np.float32)
        file["actions"] = generator.uniform(-1, 1, (rows, sizes[1])).astype(np.float32)
        file["rewards"] = generator.normal(1.0, 0.5, rows).astype(np.float32)
        file["terminals"] = np.isin(np.arange(rows), ends[1:])
        file["timeouts"] = np.arange(rows) == ends[0]
    return path


def random_weights(new: bool, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"pos_emb": (1, L * D - 1, WIDTH)}
    shapes |= (
        {"encoder.weight": (WIDTH, 1), "encoder.bias": (WIDTH,)} if new else {"tok_emb.weight": (N * D + 1, WIDTH)}
    )
    for i in range(LAYERS):
        block = f"blocks.{i}"
        shapes |= {f"{block}.{norm}.{kind}": (WIDTH,) for norm in ("ln1", "ln2") for kind in ("weight", "bias")}
        shapes[f"{block}.attn.mask"] = (1, 1, L * D - 1, L * D - 1)
        for name in ("key", "query", "value", "proj"):
            shapes |= {f"{block}.attn.{name}.weight": (WIDTH, WIDTH), f"{block}.attn.{name}.bias": (WIDTH,)}
        shapes |= {f"{block}.mlp.0.weight": (4 * WIDTH, WIDTH), f"{block}.mlp.0.bias": (4 * WIDTH,)}
        shapes |= {f"{block}.mlp.2.weight": (WIDTH, 4 * WIDTH), f"{block}.mlp.2.bias": (WIDTH,)}
    shapes |= {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,), "head.weight": (D, 2 * K if new else N + 1, WIDTH)}
    return OrderedDict((name, 0.4 * torch.randn(shape, generator=generator)) for name, shape in shapes.items())


def forward(weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Return the head's outputs ``[B, T, outputs]`` for tokens within their dimension, or for scalars."""
    w = weights
    length = inputs.shape[1]
    if "tok_emb.weight" in w:
        x = w["tok_emb.weight"][inputs + torch.arange(length) % D * N]
    else:
        x = inputs[..., None] @ w["encoder.weight"].T + w["encoder.bias"]
    x = x + w["pos_emb"][:, :length]
    seen = torch.ones(length, length).tril().bool()
    seen[:, D - 1 :: D] = False

    def linear(name: str, rows: Tensor) -> Tensor:
        return rows @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, rows: Tensor) -> Tensor:
        return F.layer_norm(rows, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"])

    for i in range(LAYERS):
        block = f"blocks.{i}"
        h = norm(f"{block}.ln1", x)
        q, k, v = (
            linear(f"{block}.attn.{n}", h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for n in ("query", "key", "value")
        )
        scores = (q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).masked_fill(~seen, -torch.inf)
        x = x + linear(f"{block}.attn.proj", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        x = x + linear(f"{block}.mlp.2", F.gelu(linear(f"{block}.mlp.0", norm(f"{block}.ln2", x))))
    h = norm("ln_f", x)
    return torch.stack([h[:, p] @ w["head.weight"][p % D].T for p in range(length)], 1)


def write_pickle(path: Path, module: str, name: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a configuration as their code does: an object of their class with a reference to the configured class."""
    kinds = {}
    for where, kind in (("trajectory.utils.config", "Config"), (module, name)):
        parts = where.split(".")
        for package in (".".join(parts[: i + 1]) for i in range(len(parts))):
            monkeypatch.setitem(sys.modules, package, ModuleType(package))
        kinds[kind] = type(kind, (), {"__module__": where})
        setattr(sys.modules[where], kind, kinds[kind])
    config = kinds["Config"]()
    vars(config).update({"_class": kinds[name], "_dict": values})
    path.write_bytes(pickle.dumps(config, protocol=4))


class FolderWriter:
    """Write training folders; keywords override values of the configurations."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root, self._monkeypatch = root, monkeypatch
        self.data = write_data(root / f"{DATASET}.hdf5")

    def __call__(self, new: bool = False, ema: bool = False, **changes: Any) -> Path:
        folder = self._root / "training"
        folder.mkdir()
        data = {"env": DATASET, "penalty": -100, "sequence_length": L, "step": 1, "discount": 0.9}
        data |= {} if new else {"N": N, "discretizer": "QuantileDiscretizer"}
        model: dict[str, Any] = {"vocab_size": N, "block_size": L * D - 1, "n_layer": LAYERS, "n_head": HEADS}
        model |= {
            "n_embd": WIDTH,
            "observation_dim": N_OBS,
            "action_dim": N_ACT,
            "transition_dim": D,
            "action_weight": 5,
        }
        model |= {"reward_weight": 1, "value_weight": 1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "attn_pdrop": 0.1}
        if new or ema:  # AdaCat's code
            model |= {"new": new, "param_size": 2 * K, "smooth_coeff": 0.001, "smooth_type": "uniform"}
        tokens = N_WINDOWS * (L * D - 1)
        trainer = {"batch_size": 16, "learning_rate": 6e-4, "betas": (0.9, 0.95), "grad_norm_clip": 1.0}
        trainer |= {"weight_decay": 0.1, "lr_decay": True, "warmup_tokens": tokens, "final_tokens": 20 * tokens}
        arguments = {"seed": 7, "d_class": "adacat", "n_epochs_ref": 50}
        arguments["mkdir"] = {"_type": "python_object", "_value": base64.b64encode(b"never opened").decode()}
        kind = "ContinuousDataset" if new else "DiscretizedDataset"
        for name, where, what, values in (
            ("data", "trajectory.datasets.sequence", kind, data),
            ("model", "trajectory.models.transformers", "GPT", model),
            ("trainer", "trajectory.utils.training", "Trainer", trainer),
        ):
            own = {key: changes.get(key, value) for key, value in values.items()}
            write_pickle(folder / f"{name}_config.pkl", where, what, own, self._monkeypatch)
        (folder / "args.json").write_text(json.dumps({**arguments, **changes}))
        for epoch in (2, 10):
            torch.save(self._state(new, ema, epoch), folder / f"state_{epoch}.pt")
        return folder

    def _state(self, new: bool, ema: bool, epoch: int) -> Any:
        weights = random_weights(new, epoch)
        if not ema:
            return weights
        shadows = [value for name, value in random_weights(new, 100).items() if not name.endswith("attn.mask")]
        average = {"decay": 0.995, "num_updates": 3, "shadow_params": shadows, "collected_params": None}
        return {"model": weights, "ema": average, "ema_decay": 0.995}


@pytest.fixture
def write_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderWriter:
    return FolderWriter(tmp_path, monkeypatch)
