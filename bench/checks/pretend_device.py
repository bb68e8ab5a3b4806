"""A pretend accelerator: its numbers lie on the CPU, and mixing it with CPU tensors raises an error as on CUDA.

It finds code that works on the CPU alone, on a machine without an accelerator. ``register`` changes torch for the rest
of the process: torch then has an accelerator, and ``Parameter.data`` is replaced. So only a process that does nothing
else may call it, and no run does. The device differs from CUDA in this:

* operations are those of the CPU, so results have the CPU's bits, also in half precision;
* random numbers come from the CPU's generator, so one seed draws the same numbers on both devices;
* a tensor has no memory of its own, so what reads its address or its storage does not work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from inspect import getattr_static
from typing import TYPE_CHECKING, Protocol, SupportsIndex

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from typing_extensions import override

from bench.checks.pretend_rules import (
    NAME,
    HostError,
    PretendGenerator,
    refuse_generators,
    refuse_mixture,
    tensors_in,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch._ops import OpOverload

# torch makes these from an empty tensor, which a tensor without memory of its own cannot follow,
_RESIZED = ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "randperm", "randperm.generator")
# and takes these apart for a device without a kernel of its own, which rounds differently.
_TAKEN_APART = ("mish_backward", "native_channel_shuffle", "silu_backward")


class PretendTensor(Tensor):
    """A tensor on the pretend device; ``host`` holds its numbers."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> PretendTensor:
        """Return a tensor that shares its numbers with ``host``."""
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=torch.device(NAME, 0),
        )
        assert isinstance(made, PretendTensor)
        made.host = host
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        """Run an operation that has at least one tensor of the pretend device among its arguments."""
        return _run(func, *args, **(kwargs or {}))

    @override
    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        return restored, (self.host.clone(), self.requires_grad)

    @override
    def tolist(self) -> list[object]:
        return self.host.tolist()

    @override
    def numpy(self, *, force: bool = False) -> NDArray[np.generic]:
        """Refuse as on CUDA, unless ``force`` asks for a copy on the CPU."""
        if force:
            return self.host.detach().numpy().copy()
        raise HostError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first.")

    @override
    def __array__(self, *arguments: object, **settings: object) -> NDArray[np.generic]:
        return self.numpy()

    @override
    def __format__(self, spec: str) -> str:
        return format(self.host, spec)


def restored(host: Tensor, requires_grad: bool) -> Tensor:
    """Return a tensor on the pretend device that a file held."""
    return PretendTensor(host).requires_grad_(requires_grad)


class _Library(Protocol):
    def fallback(self, kernel: Callable[..., object], key: str) -> None: ...

    def impl(self, name: str, kernel: Callable[..., object], key: str) -> None: ...


_LIBRARIES: list[_Library] = []  # the kernels of a library vanish together with it

_library: Callable[[str, str], _Library] = torch.library.Library
_swap: Callable[[Tensor, Tensor], None] = torch.utils.swap_tensors


def register() -> torch.device:
    """Make the pretend device known to torch in this process for good, and return it.

    Call it before the first backward pass: torch starts a thread for each device at that moment.
    """
    if not _LIBRARIES:
        backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
        _add_kernels()
        plain = getattr_static(Tensor, "data")
        for kind in (nn.Parameter, PretendTensor):
            type.__setattr__(kind, "data", property(plain.__get__, partial(_set_data, plain.__set__)))
        torch.__future__.set_swap_module_params_on_conversion(True)  # a moved parameter stays the same object
        vars(torch)["Generator"] = PretendGenerator
        torch.serialization.add_safe_globals([restored])
    return torch.device(NAME, 0)


class _Module(backend_registration._DummyBackendModule):
    """What torch finds as ``torch.pretend``; gradient checkpointing asks it for autocast."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


def _add_kernels() -> None:
    everything, aten = _library("_", "IMPL"), _library("aten", "IMPL")
    _LIBRARIES.extend((everything, aten))
    everything.fallback(_run, "PrivateUse1")
    aten.impl("_copy_from", _copy_from, "PrivateUse1")
    aten.impl("dropout", _dropout, "AutogradPrivateUse1")
    aten.impl("scaled_dot_product_attention", _attention, "AutogradPrivateUse1")
    for name in (*_RESIZED, *_TAKEN_APART):
        packet, _, overload = name.partition(".")
        aten.impl(name, partial(_run, getattr(getattr(torch.ops.aten, packet), overload or "default")), "PrivateUse1")


def _run(func: OpOverload, *args: object, **kwargs: object) -> object:
    """Run an operation on the CPU's numbers, unless an accelerator would refuse it."""
    known = {id(_host(tensor)): tensor for tensor in tensors_in((*args, *kwargs.values()))}
    devices = {type(tensor) is PretendTensor for tensor in known.values()}
    if len(devices) == 2:
        refuse_mixture(func, args, kwargs)
    is_here = True in devices
    if (asked := kwargs.get("device")) is not None:
        is_here = torch.device(str(asked)).type == NAME
    if is_here:
        refuse_generators(func, (*args, *kwargs.values()))
    found = func(*map(_hosted, args), **{name: _hosted(value) for name, value in kwargs.items()})
    if torch.Tag.inplace_view in func.tags and is_here:
        with no_dispatch():  # the tensor itself changes its shape, as its numbers have
            func(*args, **kwargs)
    return _placed(found, known, is_here)


def _placed(value: object, known: Mapping[int, Tensor], is_here: bool) -> object:
    """Return an operation's result with its tensors on their device; an argument that it changed stays itself."""
    if isinstance(value, list | tuple):
        return type(value)(_placed(item, known, is_here) for item in value)
    if not isinstance(value, Tensor):
        return value
    if (argument := known.get(id(value))) is None:
        return PretendTensor(value) if is_here else value
    if argument.shape != value.shape:
        raise NotImplementedError(f"On the device {NAME}, no operation can give a tensor more room.")
    return argument


def _hosted(value: object) -> object:
    """Return an argument of an operation as the CPU needs it."""
    if isinstance(value, Tensor):
        return _host(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_hosted, value))
    return torch.device("cpu") if type(value) is torch.device and value.type == NAME else value


def _host(tensor: Tensor) -> Tensor:
    return tensor.host if isinstance(tensor, PretendTensor) else tensor


def _set_data(set_plain: Callable[[Tensor, Tensor], None], tensor: Tensor, value: Tensor) -> None:
    """Set ``tensor.data``; torch itself refuses a value of another class, such as one on another device."""
    if not isinstance(tensor, PretendTensor) and not isinstance(value, PretendTensor):
        set_plain(tensor, value)
        return
    new = value.detach()
    if isinstance(tensor, nn.Parameter):
        new = nn.Parameter(new, tensor.requires_grad)
    _swap(tensor, new)


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy between devices for callers that skip ``__torch_dispatch__``, such as ``torch.tensor``."""
    _host(target).copy_(_host(source))
    return target


def _dropout(values: Tensor, rate: float, train: bool) -> Tensor:
    """Drop as the CPU does; for accelerators torch has another formula, which rounds differently."""
    if not train or rate == 0:
        return values
    return values * torch.empty_like(values).bernoulli_(1 - rate).div_(1 - rate)


def _attention(  # noqa: PLR0913  torch's own signature
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attend with the kernel that the CPU would choose; for a device without one, torch takes the formula."""
    aten = torch.ops.aten
    hosts = [None if item is None else _host(item) for item in (query, key, value, attn_mask)]
    choice = aten._fused_sdp_choice(*hosts, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if choice == SDPBackend.FLASH_ATTENTION.value:
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -math.inf)
        found = aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
        )
    else:
        found = aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    values: Tensor = found[0]
    return values
