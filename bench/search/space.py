"""What a search varies: every hyperparameter that has a range and an effect under the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import UsageError
from bench.plan.request import Request
from bench.plugins.hyperparameters import Range, field_name, ranges
from bench.plugins.method import Method
from bench.values.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Space:
    """A method's searched hyperparameters by name, and the reason why each other one is left out."""

    searched: Mapping[str, Range]
    left_out: Mapping[str, str]


def spaces(request: Request, fields: Sequence[str] | None = None) -> dict[str, Space]:
    """Return the space of each method; if ``fields`` is given, only these hyperparameters are searched.

    Raises:
        UsageError: a method has no hyperparameter to search, or no method has a field.
    """
    if not request.methods:
        raise UsageError("zero_shot has nothing to tune. Name another method with --methods.")
    methods = [request.registry.method(name) for name in request.methods]
    for field in fields or ():
        if not any(field_name(method, field) in ranges(method) for method in methods):
            raise UsageError(f"--fields: {field!r} is not a hyperparameter of {', '.join(request.methods)}.")
    found = {}
    for method in methods:
        part = space(method, request.recipe, request.settings.get(method.name, {}), fields)
        if not part.searched:
            reasons = "; ".join(f"{name} {reason}" for name, reason in part.left_out.items())
            raise UsageError(
                f"{method.name} has nothing to search: {reasons or 'its hyperparameters declare no range'}. "
                "Leave it out of --methods."
            )
        found[method.name] = part
    return found


def space(
    method: type[Method], recipe: Recipe, fixed: Mapping[str, object], fields: Sequence[str] | None = None
) -> Space:
    """Return the search space of a method; hyperparameters that ``fixed`` sets are not searched.

    ``fields`` names the only hyperparameters to search, by name or by the paper's letter; None means all.

    Raises:
        UsageError: one of the fields is a hyperparameter without a search range.
    """
    chosen = None if fields is None else {field_name(method, field) for field in fields}
    searched, left_out = {}, {}
    for name, span in ranges(method).items():
        if not span.searched:
            if chosen is not None and name in chosen:
                raise UsageError(f"--fields: {method.name}.{name} has no search range. Set it with --set.")
            continue
        if chosen is not None and name not in chosen:
            left_out[name] = "not among --fields"
        elif name in fixed:
            left_out[name] = "set by --set"
        elif span.connector is not None and span.connector != recipe.connector:
            left_out[name] = f"acts only with --connector {span.connector}"
        else:
            searched[name] = span
    return Space(searched, left_out)


def in_words(span: Range) -> str:
    """Return a search range as text for a reader."""
    if span.choices:
        return " | ".join(map(str, span.choices))
    return f"{span.low:g} to {span.high:g}{', log' if span.log else ''}"
