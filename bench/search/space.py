"""What a search varies: every hyperparameter that declares a range and acts under the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.api import Method
from bench.hyperparameters import Range, ranges
from bench.spec import Recipe


@dataclass(frozen=True, slots=True)
class Space:
    """A method's searched hyperparameters by name, and those left out with the reason."""

    method: str
    searched: Mapping[str, Range]
    left_out: Mapping[str, str]


def space(method: type[Method], recipe: Recipe, fixed: Mapping[str, object]) -> Space:
    """Return the search space of a method; what ``fixed`` sets stays as it is set."""
    searched, left_out = {}, {}
    for name, span in ranges(method).items():
        if not span.searched:
            continue
        if name in fixed:
            left_out[name] = "set by --set"
        elif span.connector is not None and span.connector != recipe.connector:
            left_out[name] = f"acts only with --connector {span.connector}"
        else:
            searched[name] = span
    return Space(method.name, searched, left_out)
