"""Networks of the baselines in NumPy, and the files that hold them. Needs neither torch nor d3rlpy."""

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from trajectory_adacat.errors import InputError

ACTOR, CRITIC = "actor.npz", "critic.npz"
Arrays = Mapping[str, np.ndarray]
Kind = TypeVar("Kind")


class Layer(NamedTuple):
    """A linear layer: weight ``[inputs, outputs]`` and bias ``[outputs]``, float32."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Network:
    """Linear layers with ReLUs between them.

    Raises:
        InputError: if there are none, they do not fit each other, or a number is not finite.
    """

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        size = None
        for weight, bias in self.layers:
            if weight.ndim != 2 or bias.shape != weight.shape[1:] or size not in (None, len(weight)):
                raise InputError(f"layers of shapes {weight.shape} and {bias.shape} do not fit after {size} numbers")
            if weight.dtype.kind != "f" or bias.dtype.kind != "f":
                raise InputError(f"weights of types {weight.dtype} and {bias.dtype} are not numbers")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise InputError("a weight is not finite")
            size = len(bias)
        if size is None:
            raise InputError("there are no layers")

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs ``[..., outputs]``, float32, for ``inputs [..., inputs]``."""
        *hidden, last = self.layers
        outputs = inputs.astype(np.float32)
        for weight, bias in hidden:
            outputs = np.maximum(outputs @ weight + bias, 0)
        return outputs @ last.weight + last.bias

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of inputs and outputs."""
        return len(self.layers[0].weight), len(self.layers[-1].bias)

    def arrays(self, prefix: str, last: str) -> dict[str, np.ndarray]:
        """Return the weights by name: ``<prefix>hidden_0.weight`` and so on, and ``<prefix><last>.weight``."""
        names = [f"hidden_{i}" for i in range(len(self.layers) - 1)] + [last]
        return {
            f"{prefix}{name}.{part}": array.astype(np.float32)
            for name, layer in zip(names, self.layers, strict=True)
            for part, array in layer._asdict().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, prefix: str, last: str) -> "Network":
        """Build the network of such weights.

        Raises:
            InputError: if some are missing, or they do not fit each other.
        """
        n_hidden = sum(name.startswith(f"{prefix}hidden_") and name.endswith(".weight") for name in arrays)
        names = [f"{prefix}hidden_{i}" for i in range(n_hidden)] + [prefix + last]
        try:
            return cls([Layer(arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names])
        except KeyError as error:
            raise InputError(f"{error} is missing") from error


@dataclass(frozen=True, eq=False)
class Actor:
    """A deterministic policy: the tanh of a network's outputs.

    Its file has the names of the package's behaviour policies, without their standard deviation: ``hidden_0``,
    ``hidden_1`` and ``mean``, each with ``weight [inputs, outputs]`` and ``bias [outputs]``.
    """

    network: Network

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return the actions ``[..., a]`` in [-1, 1] for ``observations [..., o]``."""
        return np.tanh(self.network(observations))

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write_arrays(path, self.network.arrays("", "mean"))

    @classmethod
    def load(cls, path: Path) -> "Actor":
        """Read the file.

        Raises:
            InputError: if it is missing, damaged or something else.
        """
        return cls(_read(path, lambda arrays: Network.from_arrays(arrays, "", "mean")))


@dataclass(frozen=True, eq=False)
class ActionValues:
    """An ensemble of Q networks of an observation and an action, and V of an observation if the algorithm has one.

    Its file holds the networks ``q_0``, ``q_1``, ... and ``v``, each with layers ``hidden_0``, ... and ``output``.
    """

    q_networks: Sequence[Network]
    v_network: Network | None

    def q(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the mean of the Q networks, ``[n]``, for ``observations [n, o]`` and ``actions [n, a]``."""
        inputs = np.concatenate([observations, actions], axis=1)
        return np.mean([network(inputs)[:, 0] for network in self.q_networks], axis=0)

    def value(self, observations: np.ndarray) -> np.ndarray | None:
        """Return V, ``[n]``, for ``observations [n, o]``, or None without a network for it."""
        return None if self.v_network is None else self.v_network(observations)[:, 0]

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        networks = {f"q_{i}": network for i, network in enumerate(self.q_networks)}
        networks |= {} if self.v_network is None else {"v": self.v_network}
        arrays: dict[str, np.ndarray] = {}
        for name, network in networks.items():
            arrays |= network.arrays(f"{name}.", "output")
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> "ActionValues":
        """Read the file.

        Raises:
            InputError: if it is missing, damaged or something else.
        """
        return _read(path, cls._from_arrays)

    @classmethod
    def _from_arrays(cls, arrays: Arrays) -> "ActionValues":
        names = sorted({name.partition(".")[0] for name in arrays})
        networks = {name: Network.from_arrays(arrays, f"{name}.", "output") for name in names}
        v_network = networks.pop("v", None)
        if not networks:
            raise InputError("there are no Q networks")
        return cls(list(networks.values()), v_network)


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays to an npz file atomically."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    np.savez(temporary, **arrays)
    temporary.replace(path)


def _read(path: Path, make: Callable[[Arrays], Kind]) -> Kind:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}: train the baseline first.") from error
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a complete npz file ({error}): train the baseline again.") from error
    try:
        return make(arrays)
    except InputError as error:
        raise InputError(f"{path} does not hold a baseline's networks: {error}.") from error
