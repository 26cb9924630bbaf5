"""A device that is not the CPU, on machines that have no other.

Tensors of the device ``second`` hold CPU tensors and compute with them. As on a GPU, an operation on tensors of two
devices is an error, but for numbers (tensors without dimensions) of the CPU, for indices of the CPU into a tensor of
the device, and for copies. Registering a device holds for the whole process, so that it takes one of its own.
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
MATH = 0  # the attention that is made of elementary operations


class Backend(_DummyBackendModule):
    """What torch asks of a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class SecondTensor(Tensor):
    """A tensor that says it is on the second device."""

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
    """While it is active, tensors can be made on the second device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # without autograd, composite operations come whole: take them apart
            result = func.decompose(*args, **(kwargs or {}))
        return compute(func, args, kwargs or {}) if result is NotImplemented else result


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Checks the devices of an operation's tensors and computes it on the CPU."""
    if func is aten._fused_sdp_choice.default:
        return MATH
    leaves = tree_flatten((args, kwargs))[0]
    held = {id(leaf.on_cpu): leaf for leaf in leaves if isinstance(leaf, SecondTensor)}
    on_second = bool(held) if kwargs.get("device") is None else torch.device(kwargs["device"]).type == NAME
    if func is aten.copy_.default:
        on_second = isinstance(args[0], SecondTensor)
    if held:
        check_devices(func, args, leaves)
    if on_second and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{func} on {NAME} was given a generator of {kwargs['generator'].device}")
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda leaf: leaf.on_cpu if isinstance(leaf, SecondTensor) else leaf, (args, kwargs))
    result = func(*args, **kwargs)
    if not on_second:
        return result
    return tree_map(lambda leaf: hold(leaf, held) if isinstance(leaf, Tensor) else leaf, result)


def hold(real: Tensor, held: dict[int, SecondTensor]) -> SecondTensor:
    """The tensor that holds ``real``: the one that was changed in place, or a new one."""
    return held[id(real)] if id(real) in held else SecondTensor(real)


def check_devices(func: Any, args: Any, leaves: list[Any]) -> None:
    """Refuses what a device refuses.

    Raises:
        RuntimeError: naming the operation.
    """
    if func in COPIES:
        return
    is_indexed = func in INDEXED and isinstance(args[0], SecondTensor)
    free = {id(leaf) for leaf in tree_flatten(args[1])[0]} if is_indexed else set()
    for leaf in leaves:
        if isinstance(leaf, Tensor) and not isinstance(leaf, SecondTensor) and leaf.ndim > 0 and id(leaf) not in free:
            raise RuntimeError(f"{func} mixes tensors of {NAME} with one of {leaf.device}")


def register() -> None:
    """Makes the device known to this process; to be called before the package is imported."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # set_data would leave `on_cpu` as it was
    torch.inference_mode = torch.no_grad  # type: ignore[assignment, misc]  # its tensors cannot be held by others
    torch.autograd.set_multithreading_enabled(False)  # the device has no thread for its backward pass
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) through the mode
