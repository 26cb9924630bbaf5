"""Read actors from files: this package's npz, and the zip files of Stable-Baselines3 without that library.

Of a zip, two parts are read: ``policy.pth`` with ``weights_only``, and plain values of the JSON text ``data``. The
pickles in both stay closed.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trajectory_adacat.datasets.cache import file_sha256
from trajectory_adacat.datasets.policies import (
    Activation,
    Actor,
    ClippedGaussianPolicy,
    NormalizedPolicy,
    SquashedGaussianPolicy,
    TanhPolicy,
    Weights,
)
from trajectory_adacat.errors import InputError
from trajectory_adacat.files import expand

Algorithm = Literal["SAC or TQC", "TD3", "PPO"]

# Of each algorithm: a weight by which its actor is recognized, the names of its hidden layers and of its outputs, and
# the activation function that Stable-Baselines3 uses by default.
LAYOUTS: dict[Algorithm, tuple[str, str, dict[str, str], Activation]] = {
    "SAC or TQC": (
        "actor.latent_pi.0.weight",
        r"actor\.latent_pi\.(\d+)\.weight",
        {"mean": "actor.mu", "log_std": "actor.log_std"},
        "relu",
    ),
    "TD3": ("actor.mu.0.weight", r"actor\.mu\.(\d+)\.weight", {}, "relu"),
    "PPO": ("action_net.weight", r"mlp_extractor\.policy_net\.(\d+)\.weight", {"mean": "action_net"}, "tanh"),
}
ACTIVATIONS: dict[str, Activation] = {"ReLU": "relu", "Tanh": "tanh"}
STATISTICS = ("mean", "var")


@dataclass(frozen=True, eq=False)
class PolicyFile:
    """An actor read from a file.

    Attributes:
        actor: the policy.
        algorithm: that trained it, as far as its weights tell.
        sha256: of the file's bytes, in hexadecimal.
        notes: lines for the user: what the file does not say and had to be assumed.
        deterministic: whether the actor has no noise.
    """

    actor: Actor
    algorithm: str
    sha256: str
    notes: list[str]
    deterministic: bool = False


def read_policy(path: Path, statistics: Path | None = None) -> PolicyFile:
    """Read an actor.

    Args:
        path: an npz with ``{hidden_0,hidden_1,...,mean,log_std}.{weight,bias}`` (a squashed Gaussian with ReLU), or a
            zip of a SAC, TQC, TD3 or PPO agent of Stable-Baselines3 with its default kind of network.
        statistics: an npz with ``mean`` and ``var`` of the observations, and optionally ``epsilon`` and ``clip``, for
            an actor that was trained on normalized observations.

    Raises:
        InputError: if a file is missing, damaged, or of another kind.
    """
    path = expand(path)
    if not path.is_file():
        raise InputError(f"There is no policy file {path}.")
    if path.suffix == ".npz":
        read = PolicyFile(SquashedGaussianPolicy(_read_npz_actor(path)), "squashed Gaussian", file_sha256(path), [])
    elif path.suffix == ".zip":
        read = _read_zip(path)
        if statistics is None:
            _refuse_normalized(path)
    else:
        raise InputError(f"{path} is not a policy: give an .npz file, or the .zip file of a Stable-Baselines3 agent.")
    sizes = policy_sizes(read.actor)
    if statistics is not None:
        actor = _with_statistics(read.actor, expand(statistics), sizes[0])
        notes = [note for note in read.notes if note != RAW_NOTE]
        return PolicyFile(actor, read.algorithm, read.sha256, notes, read.deterministic)
    return read


def policy_sizes(actor: Actor) -> tuple[int, int]:
    """Return the sizes of the observations and of the actions of an actor."""
    first = actor.weights.get("hidden_0.weight", actor.weights["mean.weight"])
    return first.shape[0], actor.weights["mean.weight"].shape[1]


def fingerprint(actor: Actor) -> str:
    """Return the SHA-256 of an actor's weights: the same for an npz and for the zip that it was made from."""
    digest = hashlib.sha256()
    for name, array in sorted(actor.weights.items()):
        digest.update(f"{name} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def write_policy(weights: Weights, path: Path) -> None:
    """Write the npz of a squashed Gaussian."""
    arrays: dict[str, Any] = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    with open(path, "wb") as file:
        np.savez(file, **arrays)


RAW_NOTE = (
    "assumed: the agent was trained on raw observations. If it was trained with VecNormalize, pass "
    "--observation_statistics"
)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except Exception as error:  # a damaged zip raises many kinds
        raise InputError(f"{path} cannot be read as npz ({type(error).__name__}: {error}).") from error


def _read_npz_actor(path: Path) -> Weights:
    arrays = _read_npz(path)
    layers = sorted({name.rpartition(".")[0] for name in arrays} - {"mean", "log_std"})
    wanted = [f"hidden_{i}" for i in range(len(layers))] + ["mean", "log_std"]
    missing = [f"{layer}.{part}" for layer in wanted for part in ("weight", "bias") if f"{layer}.{part}" not in arrays]
    if missing or len(arrays) != 2 * len(wanted):
        raise InputError(
            f"{path} is not a policy: it needs hidden_0, hidden_1, ..., mean and log_std, each with .weight and .bias; "
            f"it holds {', '.join(sorted(arrays))}."
        )
    return _checked({name: arrays[name] for layer in wanted for name in (f"{layer}.weight", f"{layer}.bias")}, path)


def _checked(weights: Weights, path: Path) -> Weights:
    """Return the weights as float32; check that they are finite and that the layers fit together."""
    for name, array in weights.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise InputError(f"{path}: {name} is not an array of finite numbers.")
    hidden = [name for name in weights if name.startswith("hidden_") and name.endswith(".weight")]
    size = None
    for name in [*hidden, *(f"{output}.weight" for output in ("mean", "log_std") if f"{output}.weight" in weights)]:
        matrix, bias = weights[name], weights[name.replace(".weight", ".bias")]
        fits = matrix.ndim == 2 and bias.shape == matrix.shape[1:] and size in (None, matrix.shape[0])
        if not fits:
            raise InputError(f"{path}: {name} has shape {matrix.shape}, which does not fit the layers beside it.")
        size = matrix.shape[1] if name in hidden else size
    if "log_std.weight" in weights and weights["log_std.weight"].shape != weights["mean.weight"].shape:
        raise InputError(f"{path}: mean and log_std have different shapes.")
    if "log_std" in weights and weights["log_std"].shape != weights["mean.bias"].shape:
        raise InputError(f"{path}: log_std has shape {weights['log_std'].shape}, not that of the action.")
    return {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}


def _read_zip(path: Path) -> PolicyFile:
    tensors, data = _open_zip(path)
    if _uses_state_dependent_exploration(tensors, data):
        raise InputError(f"{path} was trained with use_sde (gSDE), which is not supported: give an agent without it.")
    algorithm = next((name for name, layout in LAYOUTS.items() if layout[0] in tensors), None)
    if algorithm is None:
        raise InputError(
            f"{path} does not hold the actor of SAC, TQC, TD3 or PPO with a perceptron (MlpPolicy): its weights are "
            f"{', '.join(sorted(tensors)[:6])}, ..."
        )
    _refuse_other_parts(algorithm, tensors, path)
    activation, notes = _activation(algorithm, data, path)
    weights = _checked(actor_weights(algorithm, tensors), path)
    notes.append(RAW_NOTE)
    actor: Actor
    if algorithm == "SAC or TQC":
        actor = SquashedGaussianPolicy(weights, activation)
    else:
        actor = TanhPolicy(weights, activation) if algorithm == "TD3" else ClippedGaussianPolicy(weights, activation)
    return PolicyFile(actor, algorithm, file_sha256(path), notes, algorithm == "TD3")


def _open_zip(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors of ``policy.pth`` and the plain values of ``data``."""
    import torch  # slow to import

    try:
        with zipfile.ZipFile(path) as file:
            state = torch.load(io.BytesIO(file.read("policy.pth")), map_location="cpu", weights_only=True)
            data = json.loads(file.read("data")) if "data" in file.namelist() else {}
    except KeyError as error:
        raise InputError(f"{path} is not an agent of Stable-Baselines3: it lacks policy.pth.") from error
    except Exception as error:  # zipfile, torch and json raise many kinds for damaged files
        text = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} cannot be read as an agent of Stable-Baselines3 ({type(error).__name__}: {text})."
        ) from error
    if not isinstance(state, Mapping) or not isinstance(data, dict):
        raise InputError(f"{path} is not an agent of Stable-Baselines3: policy.pth holds no weights by name.")
    return {str(name): tensor.numpy() for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}, data


def _uses_state_dependent_exploration(tensors: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> bool:
    per_feature = tensors.get("log_std", tensors.get("actor.log_std"))
    return data.get("use_sde") is True or (per_feature is not None and per_feature.ndim == 2)


def _refuse_other_parts(algorithm: Algorithm, tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Refuse networks whose actor has parts besides the layers that `LAYOUTS` names."""
    _, hidden, outputs, _ = LAYOUTS[algorithm]
    bias = hidden.replace("weight", "bias")
    known = {f"{output}.{part}" for output in outputs.values() for part in ("weight", "bias")} | {"log_std"}
    critic = ("critic", "value_net", "mlp_extractor.value_net", "actor_target")
    other = [
        name
        for name in sorted(tensors)
        if not (name.startswith(critic) or name in known or re.fullmatch(f"{hidden}|{bias}", name))
    ]
    if other:
        raise InputError(
            f"{path} has a network that is not supported, with {', '.join(other[:4])}: give an agent with MlpPolicy, "
            "whose actor shares no layer with its critic."
        )


def _activation(algorithm: Algorithm, data: Mapping[str, Any], path: Path) -> tuple[Activation, list[str]]:
    """Return the activation function that the plain text of ``policy_kwargs`` names, or the algorithm's default."""
    kwargs = data.get("policy_kwargs")
    named = kwargs.get("activation_fn") if isinstance(kwargs, dict) else None
    if named is None:
        default = LAYOUTS[algorithm][3]
        return default, [f"assumed: hidden layers with {default}, the default of {algorithm} in Stable-Baselines3"]
    found = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", str(named))
    if found is None or found[1] not in ACTIVATIONS:
        raise InputError(f"{path} has the activation function {named}: supported are {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[found[1]], []


def actor_weights(algorithm: Algorithm, tensors: Mapping[str, np.ndarray]) -> Weights:
    """Return an actor's weights by this package's names; torch stores them as ``[outputs, inputs]``."""
    _, hidden, outputs, _ = LAYOUTS[algorithm]
    numbers = sorted(int(match[1]) for name in tensors if (match := re.fullmatch(hidden, name)))
    stem = hidden.replace("\\", "").replace("(d+)", "{}").removesuffix(".weight")
    layers = {f"hidden_{i}": stem.format(number) for i, number in enumerate(numbers)}
    if algorithm == "TD3":  # its last layer is the output
        layers["mean"] = layers.pop(f"hidden_{len(numbers) - 1}")
    weights: Weights = {}
    for own, theirs in (layers | outputs).items():
        weights[f"{own}.weight"], weights[f"{own}.bias"] = tensors[f"{theirs}.weight"].T, tensors[f"{theirs}.bias"]
    if algorithm == "PPO":
        weights["log_std"] = tensors["log_std"]
    return weights


def _refuse_normalized(path: Path) -> None:
    """Refuse an agent beside whose zip, or in whose folder, lie the statistics that VecNormalize writes."""
    for found in (path.parent / "vecnormalize.pkl", path.with_suffix("") / "vecnormalize.pkl"):
        if found.exists():
            raise InputError(
                f"{path} was trained with VecNormalize ({found}), whose pickle is not opened here. Write its mean and "
                "var to an npz where Stable-Baselines3 is installed, and pass it as --observation_statistics."
            )


def _with_statistics(actor: Actor, path: Path, size: int) -> NormalizedPolicy:
    if not path.is_file():
        raise InputError(f"There is no file {path} of --observation_statistics.")
    arrays = _read_npz(path)
    for name in STATISTICS:
        if name not in arrays or arrays[name].shape != (size,) or not np.isfinite(arrays[name]).all():
            raise InputError(f"{path} needs {name}: {size} finite numbers, one for each dimension of the observation.")
    others = {name: float(arrays[name]) for name in ("epsilon", "clip") if name in arrays}
    return NormalizedPolicy(actor, arrays["mean"].astype(np.float64), arrays["var"].astype(np.float64), **others)
