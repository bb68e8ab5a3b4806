"""What the pretend device refuses, as CUDA does: CPU tensors and CPU generators next to its own, and numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch._ops import OpOverload

NAME = "pretend"

_BETWEEN_DEVICES = {"copy_", "_to_copy"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}  # their indices may lie on the CPU
_TAKES_SCALARS = {"fill", "fill_", "index_fill", "index_fill_", *_INDEXING}  # and every pointwise operation

_Generator = torch.Generator  # ``register`` replaces the name in torch


class DeviceError(RuntimeError):
    """An operation that the CPU allows and an accelerator refuses; ``remedy`` says what to write instead."""

    remedy: ClassVar[str] = (
        "Move the tensor first, e.g. mask.to(weight.device), or create it with device=weight.device."
    )


class GeneratorError(DeviceError):
    """A generator of the CPU was asked to fill a tensor on the accelerator."""

    remedy: ClassVar[str] = "Draw on the CPU and move: torch.rand(shape, generator=step.generator).to(weight.device)."


class HostError(DeviceError, TypeError):
    """A tensor on the accelerator was handed to numpy; for CUDA, torch raises a TypeError, too."""

    remedy: ClassVar[str] = "Copy the tensor with .cpu() first, or compute with torch."


class PretendGenerator(_Generator):
    """A generator on the pretend device if ``device`` asks for it, otherwise one on the CPU; both draw alike."""

    def __new__(cls, device: torch.device | str = "cpu") -> Self:
        """Return a generator that draws the CPU's numbers, whatever the device."""
        return super().__new__(cls)

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._place = torch.device(device)
        if self._place.type == NAME:
            _GENERATORS[_address(self)] = self

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch's own is not written to either
        """The device of the tensors that it fills."""
        return self._place


_GENERATORS = WeakValueDictionary[int, PretendGenerator]()  # torch passes on another object with the same address

_address: Callable[[torch.Generator], int] = attrgetter("_cdata")


def refuse_mixture(func: OpOverload, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
    """Refuse tensors of the CPU in an operation that has tensors of the device, too.

    Some operations of CUDA take a tensor without dimensions from the CPU, because it is a number; none writes to it.
    """
    if _name(func) in _BETWEEN_DEVICES:
        return
    for place, argument in enumerate(func._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        if _name(func) in _INDEXING and argument.name == "indices":
            continue
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        for tensor in tensors_in((value,)):
            is_number = tensor.dim() == 0 and not is_written and _takes_scalars(func)
            if tensor.device.type != NAME and not is_number:
                raise DeviceError(
                    f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and "
                    f"{tensor.device}! (argument {argument.name} of {_name(func)})"
                )


def refuse_generators(func: OpOverload, values: Iterable[object]) -> None:
    """Refuse generators of the CPU in an operation whose result is on the device."""
    for value in values:
        if isinstance(value, _Generator) and _address(value) not in _GENERATORS:
            raise GeneratorError(
                f"Expected a '{NAME}' device type for generator but found 'cpu' (argument generator of {_name(func)})"
            )


@cache
def _name(func: OpOverload) -> str:
    return func._schema.name.partition("::")[2]


@cache
def _takes_scalars(func: OpOverload) -> bool:
    return torch.Tag.pointwise in func.tags or _name(func) in _TAKES_SCALARS


def tensors_in(values: Iterable[object]) -> Iterator[Tensor]:
    """Yield the tensors among an operation's arguments, and those in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
