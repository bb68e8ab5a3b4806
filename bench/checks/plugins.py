"""Checks of methods and tasks that need no model."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Callable
from importlib.metadata import entry_points

from bench.errors import BenchError, PluginError
from bench.plugins.hyperparameters import Range, check, ranges, values
from bench.plugins.method import Method
from bench.plugins.registry import check_class
from bench.plugins.task import Task
from bench.spec import Scalar

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def check_name(plugin: type[Method] | type[Task]) -> None:
    """The name is lower_snake_case and equals the entry point."""
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginError(f"{plugin.__name__}.name is {name!r}. Use lower_snake_case, as on the command line.")
    value = f"{plugin.__module__}:{plugin.__qualname__}"
    for entry in entry_points(group=f"bench.{_kind(plugin)}s"):
        if entry.value == value and entry.name != name:
            raise PluginError(
                f"{plugin.__name__}.name is {name!r}, but its entry point is {entry.name!r}. Make them equal."
            )


def check_cites_its_source(plugin: type[Method] | type[Task]) -> None:
    """``paper`` names the source, and the class's own docstring says what the plugin adds."""
    if not isinstance(getattr(plugin, "paper", None), str) or not plugin.paper.strip():
        raise PluginError(f"{plugin.__name__}.paper is empty. Name the paper or web page, with its address.")
    text = vars(plugin).get("__doc__") or ""
    if not text.strip() or text.startswith(f"{plugin.__name__}("):  # @dataclass writes this if there is no docstring
        raise PluginError(
            f"{plugin.__name__} has no docstring. State the objective, and every deviation from the paper."
        )


def check_builds_from_defaults(plugin: type[Method] | type[Task]) -> None:
    """``Plugin()`` works, and so do the settings of ``off``."""
    for name, value in vars(plugin).items():
        if isinstance(value, dataclasses.Field):
            raise PluginError(f"{plugin.__name__}.{name} is ignored. Put @dataclass(kw_only=True) on the class.")
    try:
        plugin()
    except TypeError as error:
        raise PluginError(f"{plugin.__name__}() cannot be built: {error}. Give every field a default.") from error


def check_hooks_are_known(plugin: type[Method] | type[Task]) -> None:
    """Every public function of the class is one that the engine calls, so no hook is misspelt."""
    check_class(_kind(plugin), getattr(plugin, "name", ""), plugin)


def check_space_contains_default(plugin: type[Method]) -> None:
    """Each default and each setting of ``off`` is valid; each default is within its search range."""
    spans = ranges(plugin)
    unknown = [name for name in (*plugin.off, *plugin.aliases.values()) if name not in spans]
    if unknown:
        raise PluginError(
            f"{plugin.__name__}.off or .aliases names {unknown[0]!r}, which is not a hyperparameter. "
            f"Choose among {', '.join(spans)}."
        )
    for name, value in values(plugin()).items():
        _check_valid(plugin, name, value, spans[name])
        _check_searched(plugin, name, value, spans[name])
    for name, value in plugin.off.items():
        _check_valid(plugin, name, value, spans[name])


def check_pickles(plugin: type[Method]) -> None:
    """A method survives pickling, because Ray sends it to other processes."""
    method = plugin()
    try:
        copied = pickle.loads(pickle.dumps(method))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise PluginError(
            f"{plugin.__name__} cannot be pickled: {error}. Define it at the top of its module, "
            "and keep no function, file or generator in its fields."
        ) from error
    if values(copied) != values(method):
        raise PluginError(
            f"{plugin.__name__} has other hyperparameters after pickling. Do not define __reduce__ or __getstate__."
        )


PLUGINS: tuple[Callable[[type], None], ...] = (
    check_name,
    check_cites_its_source,
    check_builds_from_defaults,
    check_hooks_are_known,
)
METHODS: tuple[Callable[[type[Method]], None], ...] = (check_space_contains_default, check_pickles)


def _kind(plugin: type) -> str:
    return "task" if issubclass(plugin, Task) else "method"


def _check_valid(plugin: type[Method], name: str, value: Scalar, span: Range) -> None:
    try:
        check(f"{plugin.__name__}.{name}", value, span)
    except BenchError as error:
        raise PluginError(f"{error} The plugin sets this value itself. Widen the valid range, or change it.") from error


def _check_searched(plugin: type[Method], name: str, value: Scalar, span: Range) -> None:
    if span.low is None or span.high is None or value is None:
        return
    if isinstance(value, str) or not span.low <= value <= span.high:
        raise PluginError(
            f"{plugin.__name__}.{name} is {value!r} by default, outside its search range {span.low:g} to "
            f"{span.high:g}. Change one of them: a search must be able to find the default."
        )
