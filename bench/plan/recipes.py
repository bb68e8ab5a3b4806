"""Change fields of a recipe, and check that every value is allowed."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping

from bench.errors import UsageError
from bench.model.family import adapt_name
from bench.values.recipe import Recipe


def changed_recipe(recipe: Recipe, fields: Mapping[str, object]) -> Recipe:
    """Return the recipe with some fields set to other values.

    Raises:
        UsageError: a value is not allowed.
    """
    changed = dataclasses.replace(recipe, **fields)  # type: ignore[arg-type]
    _check_recipe(changed)
    return dataclasses.replace(changed, adapt=adapt_name(changed.adapt))


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
