"""Gather what the page of a search shows: the choices, the fronts, every configuration, and the next command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from bench.page.page import Page, Section, data_size, room_in
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


Figures = tuple[Mapping[str, str], ...]  # of a quest: the name, the title and the <svg> of each
_SENTENCE = 250  # bytes of the sentence on what is left out


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
    """Return the page of a search; what figures it has no room for, it says."""
    figures = [tuple(_figures(result, store, number)) for number, result in enumerate(found.results)]
    whole = _page(found, store, figures, figures)
    kept = fitting(figures, room_in(replace(whole, data={})) - _SENTENCE * len(figures))
    return whole if kept == figures else _page(found, store, figures, kept)


def fitting(figures: Sequence[Figures], room: int) -> list[Figures]:
    """Return the figures of each quest that fit into so many bytes together: the fronts of all quests first."""
    kept: list[list[Mapping[str, str]]] = [[] for _ in figures]
    for name in _FIGURES:
        for number, found in enumerate(figures):
            for each in (each for each in found if each["name"] == name):
                if (size := data_size(each) + 1) <= room:
                    kept[number].append(each)
                    room -= size
    return [tuple(each) for each in kept]


def _page(found: Searched, store: Store, figures: Sequence[Figures], kept: Sequence[Figures]) -> Page:
    """Return the page of a search with the figures of each quest that were kept."""
    results = found.results
    rows = PageRows.of(map(quest_row, results))
    data = {f"figures-{number}": each for number, each in enumerate(kept) if each}
    quests = [
        configuration_table(
            result,
            rows,
            number,
            f"figures-{number}" if kept[number] else "",
            _left_out(result, figures[number], kept[number]),
        )
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


def _left_out(result: SearchResult, figures: Figures, kept: Figures) -> str:
    """Return the sentence on the figures of a quest that its page leaves out, or nothing."""
    if len(kept) == len(figures):
        return ""
    place = f"{FOLDER}/{result.label}"
    return (
        f"To keep the page small, {len(kept)} of {len(figures)} figures are here. All are in {place} of the run folder."
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
