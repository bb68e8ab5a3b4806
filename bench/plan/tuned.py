"""Read what a finished search chose, as settings for the cells of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.plan.suite import Suite
from bench.plugins.hyperparameters import check, ranges
from bench.plugins.method import Method
from bench.spec import Recipe, Scalar
from bench.store.json_note import read_note
from bench.store.search_results import FILE

Place = tuple[str, int, str]  # method, rank, target
Settings = Mapping[str, Mapping[str, Scalar]]


@dataclass(frozen=True, slots=True)
class TunedChoice:
    """The configuration that a search chose for a place, and how many configurations it tried."""

    hyper: Mapping[str, Scalar]
    tries: int


Tuned = Mapping[Place, TunedChoice]


def read(
    path: Path,
    suite: Suite,
    recipe: Recipe,
    settings: Settings,
    places: Iterable[tuple[type[Method], int, str]],
    sources: Sequence[str] | None = None,
) -> Tuned:
    """Return the configuration that a search chose for every place.

    ``path`` is the file or the run folder of the search. ``places`` holds methods as classes. A method that has nothing
    to search keeps its defaults.

    Raises:
        UsageError: the search does not exist, lacks a place, or used another base model, recipe, parent or other
            sources.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"--tuned finds no finished search at {file}. Run bench search first.")
    rows = {(row["method"], row["rank"], row["target"]): row for row in known(file)}
    same: dict[str, object] = {"model": suite.revision(), "recipe": recipe.to_json()}
    same["sources"] = sorted(suite.sources if sources is None else sources)
    found: dict[Place, TunedChoice] = {}
    for method, rank, target in places:
        place = (method.name, rank, target)
        if not any(span.searched for span in ranges(method).values()):
            continue
        if place[0] in settings:
            raise UsageError(
                f"--set {place[0]}.… and --tuned both set hyperparameters of {place[0]}. Drop one of them."
            )
        row = rows.get(place)
        if row is None or row["chosen"] is None:
            raise UsageError(
                f"--tuned finds no configuration of {place[0]} at rank {place[1]} on {place[2]} in {file}. "
                f"Run bench search --methods {place[0]} --ranks {place[1]} --targets {place[2]} first."
            )
        _check_alike(row, {**same, "parent": dict(settings.get(getattr(method, "parent", ""), {}))}, file)
        found[place] = TunedChoice(_valid(method, row["chosen"]["hyper"], file), int(row["tried"]))
    return found


def _check_alike(row: Mapping[str, Any], same: Mapping[str, object], file: Path) -> None:
    known = {**row, "sources": sorted(row["sources"])}
    for name, value in same.items():
        if known[name] != value:
            raise UsageError(
                f"--tuned cannot use {row['method']} in {file} because its {name!r} differs from this run's. "
                "Search again."
            )


def _valid(method: type[Method], hyper: Mapping[str, Scalar], file: Path) -> Mapping[str, Scalar]:
    """Return the hyperparameters if the method still has them and accepts their values."""
    spans = ranges(method)
    for name, value in hyper.items():
        if name not in spans:
            raise UsageError(
                f"--tuned cannot use {file}. It sets {method.name}.{name}, which no longer exists. Search again."
            )
        check(f"{method.name}.{name}", value, spans[name])
    return hyper


def known(file: Path) -> list[dict[str, Any]]:
    """Return every row of a search's file, or an empty list if the file does not exist.

    Raises:
        UsageError: the file is not one that bench search writes.
    """
    damaged = "{path} is not a file that bench search writes ({error!r}). Delete it and search again."
    return read_note(file, _rows, damaged, UsageError) or []


def _rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = data["chosen"]
    for row in rows:
        row["method"], row["rank"], row["target"], row["model"], row["recipe"], row["parent"]
        int(row["tried"]), list(row["sources"])
        if row["chosen"] is not None:
            dict(row["chosen"]["hyper"])
    return rows
