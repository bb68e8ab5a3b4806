"""The cells of the matrix: every method with every choice, connector and dtype, and a selection for make test."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import cast

import pytest

from bench.plugins.hyperparameters import ranges, values
from bench.plugins.method import EditMethod, Method, TrainMethod
from bench.plugins.registry import Registry
from bench.values.recipe import CONNECTORS, Connector, Dtype
from bench.values.trial import Scalar

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


def cover(factors: Mapping[str, Sequence[Scalar]], together: Iterable[str] = ()) -> list[Choices]:
    """Return few combinations in which every value occurs, and every pair of values of the factors ``together``.

    Each combination adds as many pairs of any factors as it can, so most of the other pairs occur, too.
    """
    rows, chosen = list(everything(factors)), list[Choices]()
    needed = {part for row in rows for part in _parts(row, frozenset(together))}
    left = {part for row in rows for part in _parts(row, factors)}
    while needed:
        useful = [row for row in rows if needed & _parts(row, factors)]
        chosen.append(max(useful, key=lambda row: len(left & _parts(row, factors))))
        left -= _parts(chosen[-1], factors)
        needed -= _parts(chosen[-1], factors)
    return chosen


def together_in(name: str) -> tuple[str, ...]:
    """Return the factors of a method whose values are tried in every pair.

    The engine alone reads connector and dtype, the same way for every method, so their pairs are tried with the two
    methods whose changes others edit.
    """
    return (_CONNECTOR, _DTYPE) if name in PARENTS else ()


def everything(factors: Mapping[str, Sequence[Scalar]]) -> Iterator[Choices]:
    """Yield every combination of the factors' values."""
    for row in product(*factors.values()):
        yield dict(zip(factors, row, strict=True))


def marked(method: str) -> Iterator[tuple[Cell, Sequence[pytest.MarkDecorator]]]:
    """Yield every cell of a method with its marks: ``selection`` if make test runs it."""
    factors = factors_of(method)
    short = cover(factors, together_in(method))
    for row in everything(factors):
        yield cell(method, row), [pytest.mark.selection] if row in short else []


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


def _parts(row: Choices, together: Container[str]) -> set[frozenset[tuple[str, Scalar]]]:
    """Return the values of a combination, and the pairs of those that matter together."""
    paired = [item for item in row.items() if item[0] in together]
    return {frozenset({item}) for item in row.items()} | {frozenset(pair) for pair in combinations(paired, 2)}
