"""Find plugins by entry point or by ``--plugin file.py``, and load a plugin when it is needed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import PluginError, UsageError
from bench.plugins.contract import KINDS, check_class, check_names_itself, kind_of
from bench.plugins.faults import FILE_MODULE, explained
from bench.plugins.guard import guarded
from bench.plugins.method import Method
from bench.plugins.paper import Paper, SequencePaper
from bench.plugins.task import Task
from bench.text import did_you_mean
from bench.values.canonical import digest

BASELINE = "lora"  # the method that every method is compared with
REPLAY = "replay"  # the baseline that also sees examples of the sources
REWIND = "rewind"  # the edit that scales a change back
ZERO_SHOT = "zero_shot"


@dataclass(frozen=True, slots=True)
class Report:
    """A report: its function ``write(leaderboard, path)`` and the module that its entry point names."""

    name: str
    write: Callable[..., Path]
    module: ModuleType

    @property
    def file(self) -> str:
        """The name of the report's file; its suffix is the module's ``SUFFIX``, otherwise the report's name."""
        return self.file_of("leaderboard")

    @property
    def write_sequences(self) -> Callable[..., Path] | None:
        """The module's function ``write_sequences(board, path)``, or None if the report shows no sequences."""
        found: Callable[..., Path] | None = getattr(self.module, "write_sequences", None)
        return found

    def file_of(self, what: str) -> str:
        """Return the name of the file with the report of something."""
        return f"{what}.{getattr(self.module, 'SUFFIX', self.name)}"


class Registry:
    """All known plugins: those of installed packages, and those that were added to this object.

    Only this object knows the plugins that were added to it. Creating a Registry without files reads nothing. ``files``
    are the absolute paths of the plugin files that were added, so that another process can add them.
    """

    def __init__(self, files: Iterable[Path] = ()) -> None:
        self._added: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
        self._file_of: dict[tuple[str, str], Path] = {}  # where a plugin that was added is defined
        self._checked: dict[tuple[str, str], Any] = {}
        self.files: tuple[Path, ...] = ()
        for path in files:
            self.add_file(path)

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of every plugin of a kind: method, task, report or paper."""
        return tuple(sorted({*installed(kind), *self._added.get(kind, {})}))

    def method(self, name: str) -> type[Method]:
        """Return the class of a method.

        Raises:
            UsageError: the method does not exist.
            PluginError: the method cannot be imported or breaks the contract.
        """
        method: type[Method] = self._load("method", name)
        return method

    def task_class(self, name: str) -> type[Task]:
        """Return the class of a task, or of a variant of it.

        Raises:
            UsageError: the task or its variant does not exist.
            PluginError: the task cannot be imported or breaks the contract.
        """
        plain, mark, variant = name.partition("@")
        plugin: type[Task] = self._load("task", plain)
        if mark and variant not in plugin.variants:
            known = ", ".join(plugin.variants) or "none"
            raise UsageError(f"The task {plain} has no prompt named {variant!r}. Known: {known}.")
        return plugin

    def report(self, name: str) -> Report:
        """Return a report.

        Raises:
            UsageError: the report does not exist.
            PluginError: the report cannot be imported.
        """
        entry = self._entry("report", name)
        return Report(name, _import(entry), sys.modules[entry.module])

    def reports(self) -> tuple[Report, ...]:
        """Return all reports.

        Raises:
            PluginError: a report cannot be imported, or two reports write the same file.
        """
        found = dict[str, Report]()
        for report in map(self.report, self.names("report")):
            other = found.setdefault(report.file, report)
            if other is not report:
                raise PluginError(
                    f"The reports {other.name} and {report.name} both write {report.file}. "
                    "Give one of them another SUFFIX."
                )
        return tuple(found.values())

    def paper(self, name: str) -> Paper | SequencePaper:
        """Return a paper with published tables.

        Raises:
            UsageError: the paper does not exist.
            PluginError: the paper cannot be imported, or is neither a ``bench.Paper`` nor a ``bench.SequencePaper``.
        """
        entry = self._entry("paper", name)
        paper = _import(entry)
        if not isinstance(paper, (Paper, SequencePaper)):
            raise PluginError(
                f"The paper {name!r} is {paper!r}, not a bench.Paper or a bench.SequencePaper. "
                f"Let its entry point, {entry.value}, name one."
            )
        return paper

    def add_file(self, path: Path) -> tuple[str, ...]:
        """Add the methods and tasks that a file defines and return their names; a file may be added again.

        A class whose name begins with an underscore is a base of the others, and no plugin.

        Raises:
            UsageError: the file does not exist.
            PluginError: the file cannot be imported, defines no plugin, or reuses a name.
        """
        if not path.is_file():
            raise UsageError(f"--plugin {path} does not exist. Give the path of a Python file.")
        module = run_file(path.resolve())
        classes = [value for value in vars(module).values() if kind_of(value) and value.__module__ == module.__name__]
        # a class may have several names in its file
        found = [each for each in dict.fromkeys(classes) if not each.__name__.startswith("_")]
        if not found:
            raise PluginError(f"{path} defines no method or task. Subclass bench.TrainMethod, EditMethod or Task.")
        for plugin in found:
            check_names_itself(plugin)
            self._check_name(path, plugin, found)
            self.add(plugin)
            self._file_of[kind_of(plugin), plugin.name] = path
        self.files = tuple(dict.fromkeys((*self.files, path.resolve())))
        return tuple(plugin.name for plugin in found)

    def _check_name(self, path: Path, plugin: Any, found: Iterable[Any]) -> None:
        """Refuse a plugin of a file whose name another plugin has; ``found`` are all plugins of the file."""
        kind, name = kind_of(plugin), plugin.name
        where = f"{path} defines the {kind} {name!r}"
        if name in installed(kind):
            raise PluginError(f"{where}, which is already installed. Give yours another name.")
        if (other := self._file_of.get((kind, name), path)).resolve() != path.resolve():
            raise PluginError(f"{where}, which {other} defines too. Give one of them another name.")
        alike = [each.__qualname__ for each in found if (kind_of(each), getattr(each, "name", "")) == (kind, name)]
        if len(alike) > 1:
            raise PluginError(f"{where} twice, as {' and '.join(alike)}. Give one of them another name.")

    def add(self, plugin: type[Method] | type[Task]) -> None:
        """Add a method or a task; it replaces any other of the same name.

        Raises:
            PluginError: the plugin breaks the contract.
        """
        kind, name = kind_of(plugin), getattr(plugin, "name", "")
        check_class(kind, name, plugin)
        self._added[kind][name] = plugin

    def _load(self, kind: str, name: str) -> Any:
        """Return a plugin that was added, or one that is installed, which is imported and checked once."""
        if name in self._added[kind]:
            return self._added[kind][name]
        if (kind, name) not in self._checked:
            plugin = _import(self._entry(kind, name))
            check_class(kind, name, plugin)
            self._checked[kind, name] = plugin
        return self._checked[kind, name]

    def _entry(self, kind: str, name: str) -> EntryPoint:
        entries = installed(kind)
        if name not in entries:
            raise suggest(kind, name, self.names(kind))
        if len({entry.value for entry in entries[name]}) > 1:
            values = " and ".join(entry.value for entry in entries[name])
            raise PluginError(f"Two packages provide the {kind} {name!r}: {values}. Uninstall one.")
        return entries[name][0]


def suggest(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown name; its message suggests the closest known name."""
    known = sorted(known)
    return UsageError(f"No {kind} named {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")


@cache
def installed(kind: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Return the entry points of a kind by name; each process reads the installed packages once."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=f"bench.{kind}s"):
        if entry not in found.get(entry.name, ()):
            found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _import(entry: EntryPoint) -> Any:
    with _importing(f"The plugin {entry.name} ({entry.value})"):
        return entry.load()


_NO_DOTS = " A plugin file imports from bench, not with a dot. Name a plugin that is installed: bench check NAME."


@contextmanager
def _importing(what: str, module: str = "") -> Iterator[None]:
    """Turn everything that an import may raise into a PluginError that names the line."""
    try:
        with guarded():
            yield
    except Exception as error:
        sys.modules.pop(module, None)
        hint = _NO_DOTS if isinstance(error, ImportError) and "relative import" in str(error) else ""
        raise PluginError(f"{explained(error).rstrip('.')}. {what} cannot be imported.{hint}") from error


def run_file(path: Path) -> Any:
    """Import a plugin file under a unique name and return the module.

    Raises:
        PluginError: the file cannot be imported.
    """
    name = f"{FILE_MODULE}{path.stem}_{digest(str(path))[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importing(str(path), name):
        spec.loader.exec_module(module)
    return module
