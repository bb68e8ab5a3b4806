"""The cells of the matrix: every method with every choice, connector and dtype, and a selection with every pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import cast

import pytest

from bench.plugins.hyperparameters import ranges, values
from bench.plugins.method import EditMethod, Method, TrainMethod
from bench.plugins.registry import Registry
from bench.recipe import CONNECTORS, Connector, Dtype
from bench.spec import Scalar

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")
PARENTS = ("lora", "dora")
_METHODS = {name: Registry().method(name) for name in Registry().names("method")}
TRAINED = tuple(name for name, plugin in _METHODS.items() if issubclass(plugin, TrainMethod))
EDITS = tuple(name for name, plugin in _METHODS.items() if issubclass(plugin, EditMethod))
_CONNECTOR, _DTYPE, _PARENT = "recipe.connector", "recipe.train_dtype", "parent"  # the method may have a connector, too
_SMALL: Mapping[str, Mapping[str, Scalar]] = {"model_tailor": {"blocksize": 16, "n_samples": 8}}  # blocks and batches

Choices = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a method is run with. ``parent`` is what an edit edits."""

    method: str
    connector: Connector
    dtype: Dtype
    settings: Choices
    parent: str | None = None

    def __str__(self) -> str:
        """Return the cell's name in a list of tests."""
        of = f"of-{self.parent}" if self.parent else "alone"
        chosen = [f"{name}={value}" for name, value in self.settings.items()]
        return "-".join([self.method, of, self.connector, self.dtype, *chosen])


def factors_of(name: str) -> dict[str, Sequence[Scalar]]:
    """Return everything that a method can be combined with, by name: its own choices last."""
    plugin = _METHODS[name]
    found: dict[str, Sequence[Scalar]] = {_CONNECTOR: CONNECTORS, _DTYPE: DTYPES}
    if issubclass(plugin, EditMethod):
        found[_PARENT] = PARENTS
    return {**found, **_choices(plugin)}


def has_own_stages(name: str) -> bool:
    """Return whether the stages of a sequence continue each other in the method's own way."""
    plugin = _METHODS[name]
    if not issubclass(plugin, TrainMethod) or plugin.made_for == "joint":
        return False
    return plugin.folds or plugin.start is not TrainMethod.start


def pairwise(factors: Mapping[str, Sequence[Scalar]]) -> list[Choices]:
    """Return combinations in which every pair of two factors' values occurs."""
    rows = list(everything(factors))
    left = {pair for row in rows for pair in _pairs(row)}
    chosen: list[Choices] = []
    while left:
        chosen.append(max(rows, key=lambda row: len(left & _pairs(row))))
        left -= _pairs(chosen[-1])
    return chosen


def everything(factors: Mapping[str, Sequence[Scalar]]) -> Iterator[Choices]:
    """Yield every combination of the factors' values."""
    for row in product(*factors.values()):
        yield dict(zip(factors, row, strict=True))


def marked(factors: Mapping[str, Sequence[Scalar]]) -> Iterator[tuple[Choices, Sequence[pytest.MarkDecorator]]]:
    """Yield every combination with its marks: ``pairwise`` if it belongs to the short selection."""
    short = pairwise(factors)
    for row in everything(factors):
        yield row, [pytest.mark.pairwise] if row in short else []


def cell(method: str, row: Choices) -> Cell:
    """Return the cell of a method with one combination of ``factors_of``."""
    own = {name: value for name, value in row.items() if name not in {_CONNECTOR, _DTYPE, _PARENT}}
    parent = str(row[_PARENT]) if _PARENT in row else None
    connector, dtype = cast(Connector, row[_CONNECTOR]), cast(Dtype, row[_DTYPE])
    return Cell(method, connector, dtype, {**_SMALL.get(method, {}), **own}, parent)


def off_cells() -> Iterator[Cell]:
    """Yield the cells of every method that is switched off."""
    for name, plugin in _METHODS.items():
        if plugin.off:
            parents = PARENTS if name in EDITS else (None,)
            yield from (
                Cell(name, *row, plugin.off, parent) for parent in parents for row in product(CONNECTORS, DTYPES)
            )


def _choices(plugin: type[Method]) -> dict[str, Sequence[Scalar]]:
    defaults = values(plugin())
    known = {
        name: (True, False) if isinstance(defaults[name], bool) else span.choices
        for name, span in ranges(plugin).items()
    }
    return {name: choices for name, choices in known.items() if choices}


def _pairs(row: Choices) -> set[frozenset[tuple[str, Scalar]]]:
    return {frozenset(pair) for pair in combinations(row.items(), 2)}
