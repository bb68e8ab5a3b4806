"""Checks of methods and tasks that need no model."""

from __future__ import annotations

import re
from importlib.metadata import entry_points

from bench.errors import PluginError
from bench.plugins.contract import check_class, check_fields, kind_of
from bench.plugins.method import Method
from bench.plugins.task import Task

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def check_name(plugin: type[Method] | type[Task]) -> None:
    """The name is lower_snake_case and equals the entry point."""
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginError(f"{plugin.__name__}.name is {name!r}. Use lower_snake_case, as on the command line.")
    value = f"{plugin.__module__}:{plugin.__qualname__}"
    for entry in entry_points(group=f"bench.{kind_of(plugin)}s"):
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
    check_fields(plugin)
    try:
        plugin()
    except TypeError as error:
        raise PluginError(f"{plugin.__name__}() cannot be built: {error}. Give every field a default.") from error


def check_hooks_are_known(plugin: type[Method] | type[Task]) -> None:
    """Every public function of the class is one that the engine calls, so no hook is misspelt."""
    check_class(kind_of(plugin), getattr(plugin, "name", ""), plugin)
