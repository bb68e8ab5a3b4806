"""Describe methods, tasks and suites: what they are for, their fields, defaults and ranges, their paper."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.plan.suite import SUITES
from bench.plugins.groups import GROUPS, SEQUENCE_GROUPS
from bench.plugins.hyperparameters import Range, ranges
from bench.plugins.method import EditMethod, Method, TrainMethod
from bench.plugins.registry import Registry
from bench.text import text_table

Facts = dict[str, Any]


def method_facts(registry: Registry, name: str) -> Facts:
    """Return what a method is for, its paper, and its hyperparameters."""
    method = registry.method(name)
    words = [word for word, members in _groups(registry).items() if name in members]
    return {
        "name": name,
        "kind": _kind(method),
        "for": method.made_for,
        "in": words,
        "about": _about(method),
        "paper": method.paper,
        "fields": _fields(method),
    }


def task_facts(registry: Registry, name: str) -> Facts:
    """Return what a task asks, its metric, its paper, and its options."""
    task = registry.task_class(name)
    suites = [suite.name for suite in SUITES.values() if name in (*suite.sources, *suite.targets)]
    return {
        "name": name,
        "metric": task.primary,
        "answer tokens": task.max_new_tokens,
        "suites": suites,
        "about": _about(task),
        "paper": task.paper,
        "fields": _fields(task) if dataclasses.is_dataclass(task) else [],
    }


def suite_facts(name: str) -> Facts:
    """Return a suite's base model, tasks and recipe."""
    suite = SUITES[name]
    own = {f"{method}.{field}": value for method, of in suite.settings.items() for field, value in of.items()}
    return {
        "name": name,
        "model": "comes with the package" if suite.parameters is None else suite.model,
        "sources": list(suite.sources),
        "targets": list(suite.targets),
        "settings": own,
        "recipe": suite.recipe.to_json(),
    }


def _groups(registry: Registry) -> Mapping[str, Sequence[str]]:
    found = {word: members(registry) for word, members in GROUPS.items() if word != "installed"}
    return found | {f"sequence {word}": members(registry) for word, members in SEQUENCE_GROUPS.items()}


def _kind(method: type[Method]) -> str:
    if issubclass(method, EditMethod):
        return f"edits {method.parent}"
    return "trains" if issubclass(method, TrainMethod) else "reference"


def _about(plugin: type) -> str:
    """Return the first line of the docstring of a plugin's file, or of its class."""
    module = sys.modules[plugin.__module__]
    text = inspect.getdoc(module) or inspect.getdoc(plugin) or ""
    return text.partition("\n")[0].replace("``", "").rstrip(".")


def _fields(plugin: type) -> list[Facts]:
    fields = {item.name: item for item in dataclasses.fields(plugin)}
    return [_field(name, _default(fields[name]), span) for name, span in ranges(plugin).items()]


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return a field's default as JSON knows it; None if it has none."""
    missing = dataclasses.MISSING
    found = field.default if field.default_factory is missing else field.default_factory()
    return None if found is missing else found if isinstance(found, int | float | str | None) else str(found)


def _field(name: str, default: Any, span: Range) -> Facts:
    valid: Facts = {"choices": list(span.choices)} if span.choices else {}
    valid |= {key: value for key, value in (("minimum", span.minimum), ("maximum", span.maximum)) if value is not None}
    searched: Facts = {}
    if span.searched and span.low is not None:
        searched = {"low": span.low, "high": span.high, "log": span.log}
    elif span.searched:
        searched = {"choices": list(span.choices)}
    return {"name": name, "default": default, "valid": valid, "searched": searched}


def overview(facts: Sequence[Facts], columns: Sequence[str]) -> Iterator[str]:
    """Yield a table of plugins with some of their facts."""
    rows = [[_text(each[name]) for name in columns] for each in facts]
    yield from text_table([list(columns), *rows], left=range(len(columns)))


def details(facts: Facts) -> Iterator[str]:
    """Yield everything that is known of one plugin or suite."""
    for name, value in facts.items():
        if name != "fields":
            yield f"{name:14} {_text(value)}"
    if facts.get("fields"):
        yield ""
        rows = [
            [each["name"], _text(each["default"]), valid_text(each["valid"]), searched_text(each["searched"])]
            for each in facts["fields"]
        ]
        yield from text_table([["field", "default", "valid", "searched"], *rows], left=range(4))
    elif "fields" in facts:
        yield "It has no fields."


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "-"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return " ".join(str(value).split())


def valid_text(valid: Facts) -> str:
    """Return the valid values of a field in words."""
    if "choices" in valid:
        return _text(valid["choices"])
    low, high = valid.get("minimum"), valid.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else "any"


def searched_text(searched: Facts) -> str:
    """Return in words which values of a field a search varies."""
    if "choices" in searched:
        return _text(searched["choices"])
    return f"{searched['low']:g} to {searched['high']:g}{', log' * searched['log']}" if searched else "-"
