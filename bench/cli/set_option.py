"""Read what --set gives: options of tasks, fields of the recipe, and hyperparameters of methods."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Self

from bench.errors import UsageError
from bench.plugins.hyperparameters import field_name, parse
from bench.plugins.registry import Registry, suggest
from bench.plugins.tasks import TaskSettings
from bench.text import did_you_mean
from bench.values.recipe import Recipe
from bench.values.trial import Scalar

_RECIPE = "recipe"
_Texts = Mapping[str, Mapping[str, str]]  # by owner and field


@dataclass(frozen=True, slots=True)
class SetOption:
    """The values of ``--set`` as they were written, by field.

    What belongs to no task and not to the recipe is taken for a method's; ``of_methods`` refuses what is not.
    """

    tasks: _Texts
    recipe: Mapping[str, str]
    methods: _Texts

    @classmethod
    def read(cls, items: Sequence[str], registry: Registry) -> Self:
        """Return the values of some words of ``--set``, such as lorasculpt.alpha=1e-3.

        Raises:
            UsageError: a word is not OWNER.FIELD=VALUE.
        """
        found: dict[str, dict[str, str]] = {}
        for item in items:
            name, mark, value = item.partition("=")
            owner, dot, field = name.strip().partition(".")
            if not (mark and dot and field):
                raise UsageError(f"--set {item!r} is wrong; write METHOD.FIELD=VALUE.")
            found.setdefault(owner, {})[field] = value.strip()
        recipe, known = found.pop(_RECIPE, {}), registry.names("task")
        tasks = {name: found.pop(name) for name in list(found) if name.partition("@")[0] in known}
        return cls(tasks, recipe, found)

    def of_tasks(self, registry: Registry) -> TaskSettings:
        """Return the options of tasks, with their values.

        Raises:
            UsageError: a task has no such option, or a value is out of range.
        """
        read: dict[str, dict[str, Scalar]] = {}
        for name, fields in self.tasks.items():
            plain, variant, _ = name.partition("@")
            if variant:
                raise UsageError(
                    f"--set {name}.… names a variant, but all variants share their options. Write --set {plain}.…"
                )
            task = registry.task_class(name)
            if not is_dataclass(task):
                raise UsageError(f"The task {name} has no options. Drop --set {name}.…")
            read[name] = {field: parse(task, field, text) for field, text in fields.items()}
        return read

    def of_tasks_alone(self, registry: Registry) -> TaskSettings:
        """Return the options of tasks, for a command that trains nothing.

        Raises:
            UsageError: a word sets something else, a task has no such option, or a value is out of range.
        """
        for name in (*self.methods, *([_RECIPE] if self.recipe else [])):
            raise suggest("task", name, registry.names("task"))
        return self.of_tasks(registry)

    def of_recipe(self) -> dict[str, object]:
        """Return the fields of the recipe, with their values.

        Raises:
            UsageError: the recipe has no such field, or the value is of another type.
        """
        known = typing.get_type_hints(Recipe)
        return {name: _recipe_value(name, text, known) for name, text in self.recipe.items()}

    def of_methods(self, methods: Sequence[str], registry: Registry) -> dict[str, dict[str, Scalar]]:
        """Return the hyperparameters of methods, with their values; ``methods`` are those of the command.

        Raises:
            UsageError: a method is unknown or not used, it has no such field, or a value is out of range.
        """
        read: dict[str, dict[str, Scalar]] = {}
        used = {*methods, *(getattr(registry.method(name), "parent", name) for name in methods)}
        for name, fields in self.methods.items():
            method = registry.method(name)
            if name not in used:
                raise UsageError(
                    f"--set {name}.… has no effect because {name} is not among --methods {','.join(methods)}. "
                    f"Drop it, or add {name} to --methods."
                )
            read[name] = {field_name(method, field): parse(method, field, text) for field, text in fields.items()}
        return read


def _recipe_value(name: str, text: str, known: Mapping[str, object]) -> object:
    if name not in known:
        raise UsageError(
            f"The recipe has no field {name!r}.{did_you_mean(name, known)} Choose one of {', '.join(known)}."
        )
    hint = known[name]
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in kinds and text.lower() == "none":
        return None
    if typing.get_origin(hint) is typing.Literal:
        if text not in typing.get_args(hint):
            raise UsageError(f"recipe.{name} is {text!r}; choose one of {', '.join(typing.get_args(hint))}.")
        return text
    kind = next(kind for kind in kinds if kind is not type(None))
    try:
        return kind(text)  # type: ignore[operator]
    except ValueError:
        raise UsageError(f"recipe.{name} is {text!r}; give a value of type {kind.__name__}.") from None  # type: ignore[attr-defined]
