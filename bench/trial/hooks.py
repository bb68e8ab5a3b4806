"""Call a method's hooks, and refuse what they must not return."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from torch import Generator, Tensor, nn

from bench.model.change import Change
from bench.plugins.faults import kind_of, wrong_return

_P = ParamSpec("_P")
_T = TypeVar("_T")


def called(hook: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a hook of a method and return what it returns.

    Raises:
        PluginError: the hook returned something else than its contract in ``bench.plugins.method`` says; the message
            names the file, the line and the hook.
    """
    value = hook(*args, **kwargs)
    name = _name(hook)
    wanted, fault = _CONTRACTS[name]
    if returned := fault(value):
        raise wrong_return(hook, name, wanted, returned)
    return value


def mixed(
    hook: Callable[[Sequence[int], Mapping[str, range], Generator], Sequence[int]],
    order: Sequence[int],
    sources: Mapping[str, range],
    generator: Generator,
) -> list[int]:
    """Call ``mix`` and return the examples that a training sees.

    Raises:
        PluginError: the hook returned another number of examples, or a number that it was not given.
    """
    shown = called(hook, tuple(order), sources, generator)
    if len(shown) != len(order):
        wanted = f"{len(order):,} example numbers, as many as it was given"
        raise wrong_return(hook, "mix", wanted, f"{len(shown):,}")
    given = {*order}.union(*sources.values())
    if (unknown := next((number for number in shown if number not in given), None)) is not None:
        raise wrong_return(hook, "mix", "numbers of order and of the sources", str(unknown))
    return list(shown)


def _name(hook: Callable[..., object]) -> str:
    """Return the name under which a method has a hook; a decorator may have given the function another name."""
    method = getattr(hook, "__self__", None)
    return next(name for name in _CONTRACTS if getattr(method, name, None) == hook)


def _unless(*kinds: type) -> Callable[[Any], str]:
    """Return a function that says in words what a value is, and nothing if it is of one of the kinds."""
    return lambda value: "" if isinstance(value, kinds) and not isinstance(value, bool) else kind_of(value)


def _not_scalar(value: Any) -> str:
    """Say what is wrong with a penalty; nothing if it is None or a number that depends on trained weights."""
    if not isinstance(value, Tensor):
        return _unless(type(None))(value)
    if value.numel() != 1:
        return f"a tensor of shape {list(value.shape)}"
    return "" if value.requires_grad else "a tensor that depends on no trained weight"


def _not_sizes(value: Any) -> str:
    """Say what is wrong with the bytes of a method; nothing if they are whole numbers by name."""
    if not isinstance(value, Mapping):
        return kind_of(value)
    bad = next((item for item in value.items() if not isinstance(item[1], int) or item[1] < 0), None)
    return f"{bad[1]!r} for {bad[0]!r}" if bad else ""


def _not_positive(value: Any) -> str:
    """Say what is wrong with a factor; nothing if it is a finite number above 0."""
    return _unless(int, float)(value) or ("" if 0 < value < math.inf else repr(value))


def _not_tensors(value: Any) -> str:
    """Say what is wrong with what a method keeps; nothing if it is tensors by name."""
    if not isinstance(value, Mapping):
        return kind_of(value)
    return next((f"{kind_of(item)} for {name!r}" for name, item in value.items() if not isinstance(item, Tensor)), "")


def _not_changes(value: Any) -> str:
    """Say what is wrong with a bank; nothing if it is changes by task."""
    if not isinstance(value, Mapping):
        return kind_of(value)
    return next((f"{kind_of(item)} for {name!r}" for name, item in value.items() if not isinstance(item, Change)), "")


def _not_numbers(value: Any) -> str:
    """Say what is wrong with the numbers of examples; nothing if they are whole numbers in a sequence."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return kind_of(value)
    return next((f"{kind_of(item)} among them" for item in value if not isinstance(item, int)), "")


def _not_count(value: Any) -> str:
    """Say what a value is if it is not a whole number above 0."""
    if not isinstance(value, int):
        return kind_of(value)
    return "" if value > 0 else str(value)


def _not_natural(value: Any) -> str:
    """Say what a value is if it is not a whole number from 0 on."""
    return _unless(int)(value) or ("" if value >= 0 else str(value))


# What every hook must return, and a function that says what else a value is.
_NOTHING = ("nothing, because it acts in place", _unless(type(None)))
_CHANGE = ("a bench.Change", _unless(Change))
_CONTRACTS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "adapt": ("the model to train, a torch.nn.Module", _unless(nn.Module)),
    "change": _CHANGE,
    "start": _NOTHING,
    "keep": ("tensors by name", _not_tensors),
    "bank": ("a bench.Change by task", _not_changes),
    "mix": ("a list of example numbers", _not_numbers),
    "on_batch": _NOTHING,
    "backward": _NOTHING,
    "penalty": ("a tensor of one number, or None", _not_scalar),
    "on_gradients": _NOTHING,
    "on_update": _NOTHING,
    "edit": _CHANGE,
    "memory": ("whole numbers of bytes by name", _not_sizes),
    "change_bytes": ("a whole number of bytes, or None", _unless(int, type(None))),
    "left_bytes": ("a whole number of bytes", _unless(int)),
    "graphs": ("a whole number above 0", _not_count),
    "captured": ("a whole number, 0 or more", _not_natural),
    "slowdown": ("a number above 0", _not_positive),
}
