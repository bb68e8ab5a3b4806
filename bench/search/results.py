"""Turn finished quests into results, and keep what was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.console import warn
from bench.environment import commit
from bench.plan.request import Request
from bench.plan.tuned import QuestKey
from bench.search.pareto import front, hypervolume, pick, scored
from bench.search.quest import Quest
from bench.search.settings import SearchSettings
from bench.search.space import in_words
from bench.store.run_folder import Store
from bench.store.search_results import CHOICES, Configuration, SearchResult, read_choices, write_choices

_COMPARED = ("sources", "limit", "seeds", "trials", "search_seed", "margin", "sampler")


def quest_result(quest: Quest, setting: SearchSettings, provenance: Mapping[str, Any], command: str) -> SearchResult:
    """Return the result of a quest; it reads only the first configurations of the study, to keep all budgets equal."""
    tried = quest.study.tried()[: setting.trials]
    points = scored(tried)
    best = pick(points, setting.objective).number if points else None
    method, rank, target = quest.subject.key
    parent = getattr(quest.request.registry.method(quest.subject.varied), "parent", "")
    states = [item.state for item in tried]
    facts = {
        "method": method,
        "rank": rank,
        "target": target,
        "study": quest.study.name,
        "tried": len(tried),
        "failed": states.count("failed"),
        "stopped": states.count("stopped"),
        "updates": quest.updates,
        "updates_saved": sum(map(quest.saved, tried)),
        "order": list(quest.subject.order),
        "hypervolume": hypervolume(points),
        "front": [asdict(point) for point in front(points)],
        "parent": dict(quest.request.settings.get(parent, {})),
        "default": _told(quest, (item for item in tried if item.hyper == quest.default)),
        "chosen": _told(quest, (item for item in tried if item.number == best)),
        "importance": quest.study.importances(setting.trials),
        **provenance,
    }
    space = {name: in_words(span) for name, span in quest.study.space.items()}
    return SearchResult(quest.label, command, space, facts, tuple(map(quest.ended, tried)))


def _told(quest: Quest, found: Iterator[Configuration]) -> dict[str, Any] | None:
    """Return all hyperparameters and the scores of the first configuration; None if there is none with scores."""
    item = next(found, None)
    if item is None or item.avg is None:
        return None
    scores = {name: getattr(item, name) for name in ("number", "source", "target", "avg")}
    return {"hyper": quest.hyper(item.hyper), **scores}


def provenance(request: Request, setting: SearchSettings) -> dict[str, Any]:
    """Return the settings that the results of a search depend on."""
    return {
        "suite": request.suite.name,
        "model": request.suite.revision(),
        "model_name": request.suite.model_name,
        "recipe": request.recipe.to_json(),
        "split": request.split,
        "sources": list(request.sources),
        "limit": request.limit,
        "seeds": list(request.seeds),
        "trials": setting.trials,
        "search_seed": setting.seed,
        "objective": setting.objective,
        "margin": setting.margin,
        "sampler": setting.sampler,
        "commit": commit(),
    }


def save_choices(store: Store, results: Sequence[SearchResult]) -> None:
    """Write the choices, and keep those of earlier searches for other methods, ranks and targets."""
    rows: dict[QuestKey, Mapping[str, Any]]
    rows = {(row["method"], row["rank"], row["target"]): row for row in read_choices(store.root / CHOICES)}
    for result in results:
        row = result.facts
        old = rows.get(key := (row["method"], row["rank"], row["target"]), row)
        if differ := [name for name in _COMPARED if old.get(name) != row[name]]:
            warn(f"{result.label}: {CHOICES} had a choice from other {', '.join(differ)}. It is replaced.")
        rows[key] = row
    write_choices(store.root / CHOICES, rows.values())
