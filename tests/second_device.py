"""A simulated device for machines without a GPU.

A tensor on the device ``second`` wraps a CPU tensor, which computes. As on a GPU, operations that mix devices raise an
error, with three exceptions: zero-dimensional CPU tensors, CPU indices into a tensor of the device, and copies.
A device stays registered until the process exits, so use it in a process of its own.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "second"
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._unsafe_index.Tensor}
MATH_BACKEND = 0  # scaled dot-product attention made of elementary operations


class Backend(_DummyBackendModule):
    """Device module that torch requires."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class SecondTensor(Tensor):
    """A tensor on the second device; `on_cpu` holds its values."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> "SecondTensor":
        new = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=torch.device(NAME),
        )
        new.on_cpu = real
        return new

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return compute(func, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Enable the creation of tensors on the second device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # without autograd, composite operations are not decomposed yet
            result = func.decompose(*args, **(kwargs or {}))
        return compute(func, args, kwargs or {}) if result is NotImplemented else result


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check the devices of an operation's tensors and compute it on the CPU."""
    if func is aten._fused_sdp_choice.default:
        return MATH_BACKEND
    leaves = tree_flatten((args, kwargs))[0]
    wrapped = {id(leaf.on_cpu): leaf for leaf in leaves if isinstance(leaf, SecondTensor)}
    on_second = bool(wrapped) if kwargs.get("device") is None else torch.device(kwargs["device"]).type == NAME
    if func is aten.copy_.default:
        on_second = isinstance(args[0], SecondTensor)
    if wrapped:
        check_devices(func, args, leaves)
    if on_second and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{func} on {NAME} was given a generator of {kwargs['generator'].device}")
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda leaf: leaf.on_cpu if isinstance(leaf, SecondTensor) else leaf, (args, kwargs))
    result = func(*args, **kwargs)
    if not on_second:
        return result
    return tree_map(lambda leaf: wrap(leaf, wrapped) if isinstance(leaf, Tensor) else leaf, result)


def wrap(real: Tensor, wrapped: dict[int, SecondTensor]) -> SecondTensor:
    """Return the tensor that wraps ``real``: an argument that was changed in place, or a new one."""
    return wrapped[id(real)] if id(real) in wrapped else SecondTensor(real)


def check_devices(func: Any, args: Any, leaves: list[Any]) -> None:
    """Refuse operations that mix devices.

    Raises:
        RuntimeError: with the operation's name.
    """
    if func in COPIES:
        return
    is_indexed = func in INDEXED and isinstance(args[0], SecondTensor)
    indices = {id(leaf) for leaf in tree_flatten(args[1])[0]} if is_indexed else set()
    others = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, SecondTensor)]
    for leaf in others:
        if leaf.ndim > 0 and id(leaf) not in indices:
            raise RuntimeError(f"{func} mixes tensors of {NAME} with one of {leaf.device}")


def register() -> None:
    """Register the device in this process; call before importing the package."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # set_data would not update `on_cpu`
    torch.inference_mode = torch.no_grad  # type: ignore[assignment, misc]  # inference tensors cannot be wrapped
    torch.autograd.set_multithreading_enabled(False)  # the device has no backward thread
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) reaches the dispatch mode
