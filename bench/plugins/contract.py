"""Refuse a plugin whose class breaks the contract of its kind, in one line; no method of the class is called."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from bench.errors import PluginError
from bench.plugins.faults import is_hook, place_of
from bench.plugins.method import EditMethod, Method, TrainMethod
from bench.plugins.source import is_engine
from bench.plugins.task import Task
from bench.text import did_you_mean

KINDS: dict[str, type] = {"method": Method, "task": Task}

_NAME_BYTES = 60  # a folder's name has at most 255: a method, a target with its variant, rank, seed and id


def kind_of(value: object) -> str:
    """Return the kind of a plugin class, or an empty text if the value is not a plugin class."""
    return next((kind for kind, base in KINDS.items() if inspect.isclass(value) and issubclass(value, base)), "")


def check_class(kind: str, name: str, plugin: Any) -> None:
    """Refuse a plugin whose class breaks the contract of its kind; no method of the class is called.

    Raises:
        PluginError: the plugin is not of its kind, has another name or one that no folder can have, is abstract, or
            misspells a hook.
    """
    if not (inspect.isclass(plugin) and issubclass(plugin, KINDS[kind])):
        base = f"bench.{KINDS[kind].__name__}"
        raise PluginError(f"The {kind} {name!r} is {plugin!r}, not a subclass of {base}. Name one, or derive it.")
    if kind == "task" and not isinstance(getattr(plugin, "primary", None), str):
        raise PluginError(
            f'The task {name!r} names no main metric. Set it: primary: ClassVar[str] = "exact", '
            "a metric that score returns."
        )
    if getattr(plugin, "name", None) != name:
        check_names_itself(plugin)
        raise PluginError(f"{plugin.__qualname__}.name is {getattr(plugin, 'name', None)!r}; call it {name!r}.")
    for part in (name, *getattr(plugin, "variants", ())):
        if "/" in part or len(part.encode()) > _NAME_BYTES:
            raise PluginError(
                f"The {kind} {name[:_NAME_BYTES]!r} has the name {part[:_NAME_BYTES]!r} of {len(part.encode())} bytes. "
                f"Give it at most {_NAME_BYTES} and no slash, because folders are named after it."
            )
    missing = sorted(getattr(plugin, "__abstractmethods__", ()))
    if missing:
        stubs = " and ".join(_stub(plugin, part) for part in missing)
        raise PluginError(f"The {kind} {name!r} lacks {', '.join(missing)}. Write {stubs}.")
    check_fields(plugin)
    _check_hooks(kind, plugin)


def _stub(plugin: type, name: str) -> str:
    """Return the first line of a function that a class must still define."""
    value = getattr(plugin, name)
    return f"def {name}({', '.join(inspect.signature(value).parameters)})" if inspect.isfunction(value) else name


def check_names_itself(plugin: type) -> None:
    """Refuse a plugin that has no name of its own."""
    if "name" in vars(plugin) or "name" in vars(plugin).get("__annotations__", {}):
        return
    name = getattr(plugin, "name", None)
    inherited = "" if name is None else f" (it inherits {name!r})"
    raise PluginError(f'{plugin.__qualname__} sets no name{inherited}. Add name: ClassVar[str] = "…" to the class.')


def check_fields(plugin: type) -> None:
    """Refuse fields of a class without @dataclass, and class variables of the contract that have become fields.

    Raises:
        PluginError: a field is ignored, or would be a hyperparameter by mistake.
    """
    for name, value in vars(plugin).items():
        if isinstance(value, dataclasses.Field):
            raise PluginError(f"{plugin.__qualname__}.{name} is ignored. Put @dataclass(kw_only=True) on the class.")
    fields = {field.name for field in dataclasses.fields(plugin)} if dataclasses.is_dataclass(plugin) else set()
    for part in plugin.__mro__:
        hints = vars(part).get("__annotations__", {}) if is_engine(part.__module__) else {}
        for name in (name for name, hint in hints.items() if "ClassVar" in str(hint) and name in fields):
            raise PluginError(
                f"{plugin.__qualname__}.{name} is a field, because ClassVar is missing. "
                f"Write {name}: ClassVar[{hints[name].partition('[')[2].removesuffix(']')}] = …"
            )


def _check_hooks(kind: str, plugin: type) -> None:
    """Refuse public functions that no base class defines, and hooks that cannot be called as they will be."""
    contract = next(base for base in (TrainMethod, EditMethod, Method, Task) if issubclass(plugin, base))
    for part in plugin.__mro__:
        if is_engine(part.__module__):
            continue
        for name, value in vars(part).items():
            if name.startswith("_") or not inspect.isfunction(value):
                continue
            if is_hook(contract, name):
                _check_arguments(value, getattr(contract, name))
            elif not hasattr(contract, name):
                hint = did_you_mean(name, dir(contract)) or " Start a helper's name with an underscore."
                raise PluginError(f"{kind.capitalize()} {plugin.__name__} defines {name!r}, which nothing calls.{hint}")


def _check_arguments(hook: Callable[..., Any], contract: Callable[..., Any]) -> None:
    """Refuse a hook that does not take the arguments that the contract gives it."""
    wanted = list(inspect.signature(contract).parameters)
    try:
        inspect.signature(hook).bind(*wanted)
    except TypeError:
        raise PluginError(
            f"{place_of(hook)}: the hook takes {inspect.signature(hook)}. "
            f"Write def {hook.__name__}({', '.join(wanted)})."
        ) from None
