"""Say where in a plugin's file a fault is: its line and its hook."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import FunctionType

from bench.errors import BenchError, PluginError, TrialError, one_line
from bench.plugins.method import EditMethod, TrainMethod
from bench.plugins.source import is_engine
from bench.plugins.task import Task

FILE_MODULE = "bench_plugin_"  # how the name of a plugin file's module begins


def explained(error: BaseException, plugin: object = None) -> str:
    """Return an error as one line: what it says and, unless it was raised on purpose, its type and its place.

    ``plugin`` is the class or the function that is to blame; without it, every plugin may be.
    """
    if isinstance(error, TrialError) and error.hook and isinstance(plugin, type):
        return f"{place_of(getattr(plugin, error.hook))}: {error}"
    if isinstance(error, BenchError):
        return str(error)
    text = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else one_line(error)}"
    return f"{where}: {text}" if (where := place(error, plugin)) else text


def place(error: BaseException, plugin: object = None) -> str:
    """Return the plugin's last line before an error and the hook that was called: ``mine.py:13 in on_gradients``.

    The text is empty if no line of a plugin led to the error.
    """
    if isinstance(error, SyntaxError) and str(error.filename).endswith(".py"):
        return f"{Path(str(error.filename)).name}:{error.lineno}"
    own = _modules(plugin)
    frames = [
        (frame.f_code.co_name, frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if (name := str(frame.f_globals.get("__name__"))) in own or (not own and _is_plugin(name))
    ]
    if not frames:
        return ""
    last, file, line = frames[-1]
    hook = next((name for name, *_ in frames if name in hooks()), last)
    return f"{Path(file).name}:{line}" + ("" if hook.startswith("<") else f" in {hook}")


def place_of(hook: Callable[..., object]) -> str:
    """Return where a hook is defined, like ``place``."""
    function = inspect.unwrap(getattr(hook, "__func__", hook))
    if not isinstance(function, FunctionType):
        return getattr(hook, "__name__", repr(hook))
    line = function.__code__.co_firstlineno  # that of the first decorator
    try:
        lines, _ = inspect.getsourcelines(function)
        line += next(count for count, text in enumerate(lines) if text.lstrip().startswith(("def ", "async def ")))
    except (OSError, StopIteration):
        pass
    return f"{Path(function.__code__.co_filename).name}:{line} in {function.__name__}"


def wrong_return(hook: Callable[..., object], name: str, wanted: str, returned: str) -> PluginError:
    """Return the error for a hook that returned something else than it must; both are given in words."""
    return PluginError(f"{place_of(hook)}: {name} must return {wanted}, it returned {returned}.")


def kind_of(value: object) -> str:
    """Return the type of a value in words.

    >>> kind_of(None), kind_of(1.5)
    ('None', 'float')
    """
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return "None" if value is None else name


@cache
def hooks() -> frozenset[str]:
    """Return the names of all hooks of methods and tasks."""
    bases = (TrainMethod, EditMethod, Task)
    return frozenset(name for base in bases for name in dir(base) if name[0] != "_" and is_hook(base, name))


def is_hook(contract: type, name: str) -> bool:
    """Whether a contract defines a hook of this name."""
    return inspect.isfunction(getattr(contract, name, None))


def _modules(plugin: object) -> set[str]:
    """Return the modules of a plugin's own code, and of the plugins that it extends."""
    if plugin is None:
        return set()
    parts = plugin.__mro__ if inspect.isclass(plugin) else (plugin,)
    return {part.__module__ for part in parts if not is_engine(part.__module__)}


def _is_plugin(module: str) -> bool:
    """Whether a module is a plugin file, a plugin of this project, or in a package that installs a plugin."""
    return module.startswith(FILE_MODULE) or (not is_engine(module) and module.partition(".")[0] in _packages())


@cache
def _packages() -> frozenset[str]:
    groups = [group for group in entry_points().groups if group.startswith("bench.")]
    return frozenset(entry.module.partition(".")[0] for group in groups for entry in entry_points(group=group))
