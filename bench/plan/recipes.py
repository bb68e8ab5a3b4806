"""Make the recipe of a request: the suite's recipe, changed by ``--set``, ``--connector`` and ``--base``."""

from __future__ import annotations

import dataclasses
import importlib.util
import types
import typing
from collections.abc import Mapping

from bench.errors import UsageError
from bench.plan.suite import Suite
from bench.spec import Quantization, Recipe

BASES: dict[str, Quantization] = {"full": "none", "4bit": "4bit"}


def read(suite: Suite, fields: Mapping[str, str], connector: str | None, base: str | None = None) -> Recipe:
    """Return the suite's recipe with some ``fields``, given as text, set to other values.

    Raises:
        UsageError: the recipe has no such field, or a value is not allowed.
    """
    known = typing.get_type_hints(Recipe)
    changed: dict[str, object] = {name: _field(name, text, known) for name, text in fields.items()}
    if connector is not None:
        changed["connector"] = connector
    if base is not None:
        changed["quantization"] = BASES[base]
    recipe = dataclasses.replace(suite.recipe, **changed)  # type: ignore[arg-type]
    _check_recipe(recipe)
    return recipe


_BOUNDS: dict[str, tuple[float, float]] = {
    "updates": (1, 1e9),
    "batch_size": (1, 1e6),
    "micro_batch_size": (1, 1e6),
    "max_length": (1, 1e6),
    "lr": (0, 10),
    "connector_lr": (0, 10),
    "scale": (0, 1e3),
    "dropout": (0, 0.99),
    "warmup": (0, 1),
    "weight_decay": (0, 1),
    "clip": (1e-9, 1e9),
}


def _check_recipe(recipe: Recipe) -> None:
    for name, (least, most) in _BOUNDS.items():
        value = getattr(recipe, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"recipe.{name} is {value}; give a number from {least:g} to {most:g}.")
    for mark in ("<image>", "{prompt}"):
        if (count := recipe.template.count(mark)) != 1:
            raise UsageError(f"recipe.template must contain {mark} exactly once; it has {count}.")
    if recipe.quantization == "4bit" and importlib.util.find_spec("bitsandbytes") is None:
        from bench.model.four_bit import NEEDED  # imported here because it loads torch

        raise UsageError(NEEDED)


def _field(name: str, text: str, known: dict[str, object]) -> object:
    if name not in known:
        raise UsageError(f"The recipe has no field {name!r}. Choose one of {', '.join(known)}.")
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
