"""The conformance suite: rules that every method, task and report must follow.

The suite is also shipped to third parties. ``bench check NAME`` runs it, and so does pytest:

    from bench.checks import parametrize_with_checks

    @parametrize_with_checks([RsLoRA])
    def test_rslora_keeps_the_rules(plugin, check):
        check(plugin)
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bench.checks import devices, edits, methods, plugins, reports, stages, training, trials
from bench.checks import tasks as task_checks
from bench.errors import UsageError
from bench.plan.suite import SUITES, Suite
from bench.plugins.faults import explained
from bench.plugins.guard import guarded
from bench.plugins.method import EditMethod, Method, TrainMethod, mixes
from bench.plugins.registry import Registry, suggest
from bench.plugins.source import PLUGIN_FOLDERS
from bench.plugins.task import Task
from bench.plugins.tasks import Tasks

if TYPE_CHECKING:
    import pytest

Plugin = Any  # the class of a method or a task, or the function of a report
Check = Callable[[Plugin], None]  # returns nothing, or raises a PluginError that says how to keep the rule

# The modules of checks by the class whose subclasses they apply to, in the order in which they run.
_OF_CLASSES: tuple[tuple[type | tuple[type, ...], ModuleType], ...] = (
    (object, plugins),
    (Method, methods),
    (TrainMethod, training),
    (TrainMethod, stages),
    (EditMethod, edits),
    ((TrainMethod, EditMethod), trials),
    ((TrainMethod, EditMethod), devices),
    (Task, task_checks),
)
# Without an instance, or without examples, the other checks mean nothing.
_DECISIVE = {plugins.check_builds_from_defaults.__name__, task_checks.check_examples_keep_the_contract.__name__}
# Checks that apply only to some plugins of their kind.
_APPLIES: Mapping[Check, Callable[[Plugin], bool]] = {
    training.check_off_equals_plain_lora: lambda plugin: bool(plugin.off),
    edits.check_off_returns_deltas_unchanged: lambda plugin: bool(plugin.off),
    training.check_differs_from_lora: lambda plugin: plugin.name != "lora" and plugin.made_for != "sequence",
    training.check_mixes_alike: mixes,
    stages.check_off_continues_as_plain_lora: lambda plugin: bool(plugin.off),
    stages.check_next_stage_differs_from_lora: lambda plugin: plugin.made_for == "sequence",
}


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check of one plugin; ``message`` is empty if the plugin passed, or if the check did not run."""

    plugin: str
    check: str
    passed: bool
    message: str
    seconds: float
    ran: bool = True

    def __str__(self) -> str:
        """Return the result as one line."""
        line = f"{'pass' if self.passed else 'FAIL'}  {self.plugin}  {self.check}  {self.seconds:.1f} s"
        return line if self.passed else f"{line}\n      {self.message}"


def checks(plugin: Plugin, tasks: Tasks | None = None, suite: Suite | None = None) -> Iterator[Check]:
    """Yield the checks that apply to a method class, a task class or a report function.

    ``tasks`` says how tasks are read, and knows the plugin that an edit edits; by default, that is what is installed.
    ``suite`` has the base model that must know a task's words; a task of a suite is for that suite's.
    """
    for check in _checks_of_kind(plugin):
        if all(applies(plugin) for applies in _conditions(check)):
            yield check if tasks is None else _given(check, tasks, _suite_of(plugin, suite))


def run_checks(plugin: Plugin, tasks: Tasks | None = None, suite: Suite | None = None) -> Iterator[Result]:
    """Yield the result of each check as it ends; ``plugin`` may also be a name or a ``file.py``.

    After a fault without which the other checks mean nothing, those are not run.

    ``tasks`` says how tasks are read; by default from ``data``, without options. ``suite`` has the base model that must
    know a task's words.

    Raises:
        UsageError: no plugin has this name.
        PluginError: the plugin cannot be imported.
    """
    tasks = tasks or Tasks()
    for found in find_plugins(plugin, tasks.registry) if isinstance(plugin, str) else (plugin,):
        runs = True
        for check in checks(found, tasks, suite):
            result = _run(found, check) if runs else Result(label(found), check.__name__, False, "", 0.0, runs)
            runs = runs and (result.passed or result.check not in _DECISIVE)
            yield result


def find_plugins(name: str, registry: Registry | None = None) -> Sequence[Plugin]:
    """Return the plugins with a name, or in a file: method classes, task classes and report functions.

    Without a registry, they are those of installed packages.

    Raises:
        UsageError: no plugin has this name.
        PluginError: the plugin cannot be imported.
    """
    registry = registry or Registry()
    if name.endswith(".py"):
        names = registry.add_file(Path(name))
        return [plugin for each in names for plugin in find_plugins(each, registry)]
    read: dict[str, Callable[[str], Plugin]] = {
        "method": registry.method,
        "task": registry.task_class,
        "report": lambda report: registry.report(report).write,
    }
    if found := [read[kind](name) for kind in read if name in registry.names(kind)]:
        return found
    raise _without_entry_point(name) or suggest(
        "plugin", name, [known for kind in read for known in registry.names(kind)]
    )


def parametrize_with_checks(
    plugins: Sequence[Plugin], expected_failures: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """Return a pytest decorator that runs a test(plugin, check) for every check of every plugin.

    ``expected_failures`` gives a reason by the check's name. Such a check must fail; if it passes, the test fails.
    """
    import pytest

    expected = dict(expected_failures or {})
    cases = [(plugin, check) for plugin in plugins for check in checks(plugin)]
    if unknown := expected.keys() - {check.__name__ for _, check in cases}:
        raise UsageError(f"expected_failures names {sorted(unknown)[0]!r}, which is not a check of these plugins.")
    return pytest.mark.parametrize(
        ("plugin", "check"),
        [
            pytest.param(
                plugin,
                check,
                id=f"{label(plugin)}-{check.__name__}",
                marks=[pytest.mark.xfail(reason=expected[check.__name__], strict=True)]
                if check.__name__ in expected
                else [],
            )
            for plugin, check in cases
        ],
    )


def checks_in(module: ModuleType) -> list[Check]:
    """Return the checks that a module defines, which are its own functions called ``check_…``, in their order."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    return [value for value in own if getattr(value, "__name__", "").startswith("check_")]


def label(plugin: Plugin) -> str:
    """Return a plugin's name: the module of a report, the ``name`` of a method or task."""
    if inspect.isclass(plugin):
        return str(getattr(plugin, "name", plugin.__name__))
    return str(plugin.__module__).rpartition(".")[2]


def _conditions(check: Check) -> Iterator[Callable[[Plugin], bool]]:
    """Yield the conditions under which a check applies to a plugin of its kind."""
    if check in _APPLIES:
        yield _APPLIES[check]
    if getattr(check, "__module__", "") == stages.__name__:
        yield lambda plugin: plugin.merges and plugin.made_for != "joint"


def _checks_of_kind(plugin: Plugin) -> Iterator[Check]:
    if not inspect.isclass(plugin):
        if not callable(plugin):
            raise UsageError(f"{plugin!r} is not a plugin. Give a method class, a task class or a report function.")
        yield from checks_in(reports)
        return
    for kind, module in _OF_CLASSES:
        if issubclass(plugin, kind):
            yield from checks_in(module)


def _suite_of(plugin: Plugin, suite: Suite | None) -> Suite | None:
    """Return the suite whose tasks have the plugin, or else the one that was asked for."""
    own = (each for each in SUITES.values() if label(plugin) in (*each.sources, *each.targets))
    return next(own, suite)


def _given(check: Check, tasks: Tasks, suite: Suite | None) -> Check:
    """Return a check with what it takes next to the plugin; its name stays."""
    known = {"tasks": tasks, "registry": tasks.registry, "suite": suite}
    taken = {name: known[name] for name in inspect.signature(check).parameters if name in known}
    return update_wrapper(partial(check, **taken), check) if taken else check


def _run(plugin: Plugin, check: Check) -> Result:
    began = time.monotonic()
    message = ""
    try:
        with guarded(plugin):
            check(plugin)
    except Exception as error:  # noqa: BLE001  a plugin may raise anything, and the other checks must still run
        message = explained(error, plugin)
    return Result(label(plugin), check.__name__, not message, message, time.monotonic() - began)


def _without_entry_point(name: str) -> UsageError | None:
    """Return the error for a plugin file of this project that has no installed entry point."""
    for kind in PLUGIN_FOLDERS:
        found = find_spec(f"bench.{kind}")
        for folder in (found.submodule_search_locations if found else None) or ():
            if (Path(folder) / f"{name}.py").is_file():
                return UsageError(
                    f"{kind}/{name}.py exists, but no entry point names it. Add one to pyproject.toml, "
                    "then reinstall with make setup, or pip install -e ."
                )
    return None
