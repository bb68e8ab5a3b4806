"""Read what a finished search chose, as settings for the cells of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.plan.row_key import RowKey
from bench.plan.suite import Suite
from bench.plugins.hyperparameters import check, ranges
from bench.plugins.method import Method
from bench.plugins.registry import Registry
from bench.store.search_results import SearchResult, choices_file, read_choices
from bench.values.recipe import Recipe
from bench.values.trial import Scalar

QuestKey = tuple[str, int, str]  # method, rank, target
Settings = Mapping[str, Mapping[str, Scalar]]


@dataclass(frozen=True, slots=True)
class TunedChoice:
    """The configuration that a search chose for a quest, and how many configurations it tried."""

    hyper: Mapping[str, Scalar]
    tries: int


Tuned = Mapping[QuestKey, TunedChoice]


def quest_label(key: QuestKey) -> str:
    """Return the name of a quest for a reader; its folder has it, too."""
    return "{}-r{}-{}".format(*key)


def quest_row(result: SearchResult) -> RowKey:
    """Return the key of the row that a page and a figure give to the result of a quest."""
    facts = result.facts
    return RowKey(str(facts["method"]), rank=int(facts["rank"]), connector=str(facts["recipe"].get("connector", "")))


def read(  # noqa: PLR0913  all that a search must share with the run
    path: Path,
    suite: Suite,
    recipe: Recipe,
    settings: Settings,
    places: Iterable[tuple[QuestKey, type[Method]]],
    sources: Sequence[str] | None = None,
    option: str = "--targets",
) -> Tuned:
    """Return the configuration that a search chose for every place, by the key of its quest.

    ``path`` is the file or the run folder of the search. ``places`` holds each quest's key, and the method whose
    hyperparameters it searched. A method that has nothing to search keeps its defaults. ``option`` is the one of
    ``bench search`` that means a quest's target.

    Raises:
        UsageError: the search does not exist, lacks a place, or used another base model, recipe, parent or other
            sources.
    """
    file = choices_file(path)
    if not file.is_file():
        raise UsageError(f"--tuned finds no finished search at {file}. Run bench search first.")
    rows = {(row["method"], row["rank"], row["target"]): row for row in read_choices(file)}
    same: dict[str, object] = {"model": suite.revision(), "recipe": recipe.to_json()}
    same["sources"] = sorted(suite.sources if sources is None else sources)
    found: dict[QuestKey, TunedChoice] = {}
    for key, method in places:
        if not any(span.searched for span in ranges(method).values()):
            continue
        row = _row_of(key, method.name, rows, settings, file, option)
        _check_alike(row, {**same, "parent": dict(settings.get(getattr(method, "parent", ""), {}))}, file)
        found[key] = TunedChoice(_valid(method, row["chosen"]["hyper"], file), int(row["tried"]))
    return found


def _row_of(
    key: QuestKey, varied: str, rows: Mapping[QuestKey, Mapping[str, Any]], settings: Settings, file: Path, option: str
) -> Mapping[str, Any]:
    """Return a quest's row of the file.

    Raises:
        UsageError: ``--set`` sets the method too, or the search chose nothing for the quest.
    """
    name, rank, target = key
    if varied in settings:
        raise UsageError(f"--set {varied}.… and --tuned both set hyperparameters of {varied}. Drop one of them.")
    row = rows.get(key)
    if row is None or row["chosen"] is None:
        raise UsageError(
            f"--tuned finds no configuration of {name} at rank {rank} on {target} in {file}. "
            f"Run bench search --methods {name} --ranks {rank} {option} {target.replace('.', ',')} first."
        )
    return row


def _check_alike(row: Mapping[str, Any], same: Mapping[str, object], file: Path) -> None:
    searched = {**row, "sources": sorted(row["sources"])}
    for name, value in same.items():
        if searched[name] != value:
            raise UsageError(
                f"--tuned cannot use {row['method']} in {file} because its {name!r} differs from this run's. "
                "Search again."
            )


def _valid(method: type[Method], hyper: Mapping[str, Scalar], file: Path) -> Mapping[str, Scalar]:
    """Return the hyperparameters if the method still has them and accepts their values."""
    spans = ranges(method)
    hyper = {name: value for name, value in hyper.items() if name not in method.dropped}
    for name, value in hyper.items():
        if name not in spans:
            raise UsageError(
                f"--tuned cannot use {file}. It sets {method.name}.{name}, which no longer exists. Search again."
            )
        check(f"{method.name}.{name}", value, spans[name])
    return hyper


def check_ranges(chosen: Tuned, registry: Registry) -> None:
    """Refuse to train with a choice that an older version made, in a range that is not searched any more.

    Raises:
        UsageError: a chosen value is outside of the range that ``bench search`` searches.
    """
    for (name, *_), choice in chosen.items():
        for field, span in ranges(registry.method(name.rpartition("+")[2])).items():
            value, low, high = choice.hyper.get(field), span.low, span.high
            if low is None or high is None or not isinstance(value, int | float) or low <= value <= high:
                continue
            raise UsageError(
                f"--tuned cannot use {name}, because an older version chose {name}.{field} = {value:g}, and the range "
                f"is {low:g} to {high:g} now. Search again: bench search --methods {name}"
            )
