"""Gather what the page of a search shows: the choices, the fronts, every configuration, and the next command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.environment import known_facts
from bench.page.build import figure_section, written
from bench.page.configurations import (
    chosen_blocks,
    chosen_columns,
    configuration_table,
    title_of,
    what,
)
from bench.page.page import Page, Section
from bench.page.rows import PageRows
from bench.page.svg import themed
from bench.plan.tuned import quest_row
from bench.store.run_folder import Store
from bench.store.search_results import FOLDER, SearchResult
from bench.text import counted, shareable
from bench.values.record import Record

_FIGURES = {
    "front": "The front",
    "slices": "Each hyperparameter against the scores",
    "parallel": "Hyperparameters and scores of each configuration",
    "history": "The best so far",
}
_TITLES = {"fronts": "The fronts of all methods"}
_FRONTS = (
    "Right is better at {learnt}, up is better at the sources. Small pale marks are all configurations that have "
    "scores; a line is the front of a method. A ring marks the chosen configuration, a square the default."
)


@dataclass(frozen=True, slots=True)
class Searched:
    """A finished search: its command, the results of its quests, and the figure of all fronts, if it was drawn.

    ``following`` is the command that runs the choices. ``repeat`` returns the command that repeats a trial.
    """

    command: str
    results: Sequence[SearchResult]
    fronts: Sequence[Path]
    following: str
    repeat: Callable[[Record], str]


def search_page(found: Searched, store: Store) -> Page:
    """Return the page of a search."""
    results = found.results
    rows = PageRows.of(map(quest_row, results))
    data = {f"figures-{number}": list(_figures(result, store, number)) for number, result in enumerate(results)}
    data = {name: figures for name, figures in data.items() if figures}
    quests = [
        configuration_table(result, rows, number, f"figures-{number}" if f"figures-{number}" in data else "")
        for number, result in enumerate(results)
    ]
    facts, target = results[0].facts, results[0].goal
    fronts = _FRONTS.format(learnt="the tasks of the sequence" if results[0].order else "the target")
    choices = {
        "columns": chosen_columns(results),
        "blocks": chosen_blocks(results, rows),
        "following": shareable(found.following),
    }
    targets = ", ".join(dict.fromkeys(map(what, results)))
    reading = {"target": target, "facts": facts, "sizes": _sizes(facts), "stops": facts["margin"] is not None}
    sections = [
        Section("chosen", "What was chosen", "chosen.html", choices),
        *figure_section("fronts", f"Source against {target}", written(found.fronts, rows, _TITLES, fronts)),
        Section("configurations", "Every configuration", "configurations.html", {"quests": quests}),
        Section("reading", "What the numbers say, and what they do not", "search_reading.html", reading),
        Section("origin", "Environment and commands", "origin.html", _origin(found, rows, store)),
    ]
    return Page(
        title=f"{facts['suite']}: a search on {targets}",
        setting=_setting(facts),
        command=shareable(found.command),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        sections=sections,
        names=rows.names,
        ranks=rows.ranks,
        rows=rows.as_json(),
        data=data,
    )


def _setting(facts: Mapping[str, Any]) -> str:
    """Return what all quests of the search share, on one line."""
    margin = "no early stopping" if facts["margin"] is None else f"early stopping at {facts['margin']:g} points"
    parts = [
        f"{counted(facts['trials'], 'configuration')} for each method",
        f"{facts['recipe']['updates']:,} updates",
        f"seeds {', '.join(map(str, facts['seeds']))}",
        f"validation, {_limit(facts)} of each task",
        f"sampler {facts['sampler']}",
        margin,
        f"chosen by {facts['objective']}",
        f"commit {facts['commit']}" if facts["commit"] else "",
    ]
    return " · ".join(part for part in parts if part)


def _sizes(facts: Mapping[str, Any]) -> str:
    return f"{_limit(facts)} of each task and {counted(len(facts['seeds']), 'seed')}"


def _limit(facts: Mapping[str, Any]) -> str:
    return "all examples" if facts["limit"] is None else f"the first {facts['limit']} examples"


def _figures(result: SearchResult, store: Store, number: int) -> Iterator[dict[str, str]]:
    """Yield the figures in the folder of a quest, in the page's colours; the page loads them when it needs them."""
    folder = store.root / FOLDER / result.label
    for name, title in _FIGURES.items():
        path = folder / f"{name}.svg"
        if path.is_file():
            svg = themed(path.read_text(encoding="utf-8"), f"q{number}{name}", {}, f"{title}: {result.label}")
            yield {"name": name, "title": title, "svg": str(svg)}


def _origin(found: Searched, rows: PageRows, store: Store) -> dict[str, object]:
    """Return the environments of all trials, the base model, and the commands of the chosen configurations."""
    chosen: dict[str, tuple[str, str]] = {}
    tried: set[str] = set()
    for result in found.results:
        for item in result.configurations:
            tried.update(item.trials)
            if item.number == result.chosen:
                where = (rows.id(quest_row(result)), f"{title_of(result)}, configuration {item.number}")
                chosen |= dict.fromkeys(item.trials, where)
    records = [record for record in store.records() if record.trial.id in tried]
    commands = [
        (*chosen[record.trial.id], record.trial.id, shareable(found.repeat(record)))
        for record in records
        if record.trial.id in chosen
    ]
    facts = found.results[0].facts
    return {
        "facts": known_facts(record.environment for record in records),
        "model": facts.get("model_name", f"the model of suite {facts['suite']}"),
        "revision": facts["model"],
        "commands": commands,
        "what": "What the trainings of this search ran with:",
        "repeats": "The command that trains each chosen configuration and scores it on the test splits",
    }
