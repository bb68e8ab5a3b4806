"""Find plugins by entry point or by ``--plugin file.py``, and load one when it is asked for."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import PluginError, UsageError
from bench.plugins.method import EditMethod, Method, TrainMethod
from bench.plugins.paper import Paper
from bench.plugins.source import is_engine
from bench.plugins.task import Reading, Task
from bench.spec import Scalar, digest

BUILT_IN_METHODS = ("lora", "dora", "l2", "orth_reg", "dare", "model_tailor", "lorasculpt")
BASELINE = "lora"  # what every method is held against
ZERO_SHOT = "zero_shot"

_KINDS: dict[str, type] = {"method": Method, "task": Task}
_from_files: dict[str, dict[str, type]] = {"method": {}, "task": {}}

TaskSettings = Mapping[str, Mapping[str, Scalar]]  # the options of tasks, by the task's name


@dataclass(frozen=True, slots=True)
class Report:
    """A report: its ``write(leaderboard, path)``, and the module that its entry point names."""

    name: str
    write: Callable[..., Path]
    module: ModuleType

    @property
    def file(self) -> str:
        """The name of the report's file: its suffix is the module's ``SUFFIX``, or else the report's name."""
        return f"leaderboard.{getattr(self.module, 'SUFFIX', self.name)}"


@dataclass(slots=True)
class _Tasks:
    """How this process reads its tasks, and those it has read."""

    reading: Reading = field(default_factory=Reading)
    settings: TaskSettings = field(default_factory=dict)
    loaded: dict[tuple[str, type], Task] = field(default_factory=dict)


_tasks = _Tasks()


def names(kind: str) -> tuple[str, ...]:
    """Return the names of every plugin of a kind: method, task, report or paper."""
    return tuple(sorted({*_entries(kind), *_from_files.get(kind, {})}))


def load_method(name: str) -> type[Method]:
    """Return a method's class.

    Raises:
        UsageError: there is no such method.
        PluginError: it cannot be imported, or breaks the contract.
    """
    method: type[Method] = _load("method", name)
    return method


def read_tasks(reading: Reading, settings: TaskSettings) -> None:
    """Say where this process's tasks find their files, and what their options are."""
    if (reading, settings) != (_tasks.reading, _tasks.settings):
        _tasks.reading, _tasks.settings = reading, settings
        _tasks.loaded.clear()


def tasks_are_read() -> tuple[Reading, TaskSettings]:
    """Return what ``read_tasks`` was told last: another process can be told the same."""
    return _tasks.reading, _tasks.settings


def load_task(name: str) -> Task:
    """Return a task, or after an @ one of its variants; one instance serves the whole process.

    Raises:
        UsageError: there is no such task, or no such variant of it.
        PluginError: it cannot be imported, or breaks the contract.
    """
    variant = name.partition("@")[2]
    plugin = load_task_class(name)
    if (name, plugin) not in _tasks.loaded:
        _tasks.loaded[name, plugin] = new_task(plugin, variant)
    return _tasks.loaded[name, plugin]


def new_task(plugin: type[Task], variant: str = "") -> Task:
    """Return an instance of a task that has read nothing yet, with this process's files and options."""
    task = plugin(**_tasks.settings.get(plugin.name, {}))
    task.reading, task.variant = _tasks.reading, variant or next(iter(plugin.variants), "")
    return task


def load_task_class(name: str) -> type[Task]:
    """Return the class of a task, or of a variant of it.

    Raises:
        UsageError: there is no such task, or no such variant of it.
        PluginError: it cannot be imported, or breaks the contract.
    """
    plain, mark, variant = name.partition("@")
    plugin: type[Task] = _load("task", plain)
    if mark and variant not in plugin.variants:
        known = ", ".join(plugin.variants) or "none"
        raise UsageError(f"The task {plain} has no prompt named {variant!r}. Known: {known}.")
    return plugin


def load_report(name: str) -> Report:
    """Return a report.

    Raises:
        UsageError: there is no such report.
        PluginError: it cannot be imported.
    """
    entry = _entry("report", name)
    return Report(name, _import(entry), sys.modules[entry.module])


def load_paper(name: str) -> Paper:
    """Return a paper with published tables.

    Raises:
        UsageError: there is no such paper.
        PluginError: it cannot be imported, or is no ``bench.Paper``.
    """
    paper = _import(_entry("paper", name))
    if not isinstance(paper, Paper):
        raise PluginError(f"The paper {name!r} is {paper!r}, not a bench.Paper.")
    return paper


def add_file(path: Path) -> tuple[str, ...]:
    """Take in the methods and tasks that a file defines and return their names.

    Raises:
        PluginError: the file cannot be imported, or defines no plugin.
    """
    if not path.is_file():
        raise UsageError(f"--plugin {path}: no such file.")
    module = run_file(path.resolve())
    found = []
    for value in vars(module).values():
        for kind, base in _KINDS.items():
            if _defined_here(value, base, module.__name__):
                check_class(kind, getattr(value, "name", ""), value)
                _check_free(kind, value.name, path)
                _from_files[kind][value.name] = value
                found.append(value.name)
    if not found:
        raise PluginError(f"{path} defines no method or task: subclass bench.TrainMethod, EditMethod or Task.")
    return tuple(found)


def suggest(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown name, with the nearest known one."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UsageError(f"No {kind} named {name!r}.{hint} Known: {', '.join(known)}.")


def _load(kind: str, name: str) -> Any:
    if name in _from_files[kind]:
        return _from_files[kind][name]
    plugin = _import(_entry(kind, name))
    check_class(kind, name, plugin)
    return plugin


@cache
def _entries(kind: str) -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=f"bench.{kind}s"):
        if entry not in found.get(entry.name, ()):
            found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _entry(kind: str, name: str) -> EntryPoint:
    entries = _entries(kind)
    if name not in entries:
        raise suggest(kind, name, names(kind))
    if len({entry.value for entry in entries[name]}) > 1:
        values = " and ".join(entry.value for entry in entries[name])
        raise PluginError(f"Two packages provide the {kind} {name!r}: {values}. Uninstall one.")
    return entries[name][0]


def _import(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        raise PluginError(f"Plugin {entry.name} ({entry.value}) cannot be imported: {error!r}.") from error


def run_file(path: Path) -> Any:
    """Import a file of plugins under a name of its own and return the module.

    Raises:
        PluginError: it cannot be imported.
    """
    name = f"bench_plugin_{path.stem}_{digest(str(path))[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PluginError(f"{path} cannot be imported: {error!r}.") from error
    return module


def _defined_here(value: object, base: type, module: str) -> bool:
    return inspect.isclass(value) and issubclass(value, base) and value.__module__ == module


def _check_free(kind: str, name: str, path: Path) -> None:
    if name in _entries(kind):
        raise PluginError(f"{path}: there is already a {kind} named {name!r}. Give yours another name.")


def check_class(kind: str, name: str, plugin: Any) -> None:
    """Refuse a plugin that breaks its contract on sight.

    Raises:
        PluginError: it is no plugin of its kind, goes by another name, is abstract, or misspells a hook.
    """
    if not (inspect.isclass(plugin) and issubclass(plugin, _KINDS[kind])):
        raise PluginError(f"The {kind} {name!r} is {plugin!r}, not a subclass of bench.{_KINDS[kind].__name__}.")
    if getattr(plugin, "name", None) != name:
        raise PluginError(f"{plugin.__qualname__}.name is {getattr(plugin, 'name', None)!r}; call it {name!r}.")
    missing = sorted(getattr(plugin, "__abstractmethods__", ()))
    if missing:
        raise PluginError(f"The {kind} {name!r} lacks {', '.join(missing)}.")
    _check_hooks(kind, plugin)


def _check_hooks(kind: str, plugin: type) -> None:
    """Refuse public functions that no base class knows: a misspelt hook would never be called."""
    contract = next(base for base in (TrainMethod, EditMethod, Method, Task) if issubclass(plugin, base))
    for part in plugin.__mro__:
        if is_engine(part.__module__):
            continue
        for name, value in vars(part).items():
            if name.startswith("_") or not inspect.isfunction(value) or hasattr(contract, name):
                continue
            close = difflib.get_close_matches(name, dir(contract), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else " Start a helper's name with an underscore."
            raise PluginError(f"{kind.capitalize()} {plugin.__name__} defines {name!r}, which nothing calls.{hint}")
