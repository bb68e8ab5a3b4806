"""Run a search: tune every method with the same budget on validation."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from bench.console import say
from bench.environment import commit
from bench.errors import UsageError
from bench.lanes import lanes
from bench.lanes.progress import Progress
from bench.lanes.setup import Launch, lane_setup, note_data, note_model
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plan.tuned import FILE, known
from bench.plugins.hyperparameters import field_name, ranges, values
from bench.search import report
from bench.search.optuna_study import Sampler, SearchStudy, check_storage
from bench.search.outcome import Outcome
from bench.search.pareto import Objective
from bench.search.quest import Quest
from bench.search.space import Space, space
from bench.spec import Scalar, digest
from bench.store.places import is_remote, replace_file
from bench.store.run_folder import Store

_DATABASE = "search.db"
_COMPARED = ("sources", "limit", "seeds", "trials", "search_seed", "margin", "sampler")


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


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The settings of a search.

    ``margin`` is the lead in points at which a training is stopped (see Quest), or None if no training is stopped.
    ``storage`` is the URL of the studies' database, or None for a file in the run folder. ``trials`` is the number of
    configurations of each quest. ``fields`` names the only hyperparameters to search, or is None to search all.
    """

    seed: int = 0
    sampler: Sampler = "tpe"
    margin: float | None = None
    storage: str | None = None
    trials: int = 20
    objective: Objective = "avg"
    fields: tuple[str, ...] | None = None

    @property
    def share(self) -> float | None:
        """The margin as a fraction."""
        return None if self.margin is None else self.margin / 100


def quests(request: Request, found: Mapping[str, Space], store: Store, setting: SearchSettings) -> tuple[Quest, ...]:
    """Return a quest for each method, rank and target; a quest resumes the study of an earlier command."""
    places = product(request.targets, request.ranks, request.methods)
    return tuple(
        _quest(replace(request, methods=(method,), ranks=(rank,), targets=(target,)), found[method], store, setting)
        for target, rank, method in places
    )


def _quest(request: Request, searched: Space, store: Store, setting: SearchSettings) -> Quest:
    (method,), (rank,), (target,) = request.methods, request.ranks, request.targets
    # Everything that decides the scores of a configuration; if any of it changes, the study is a new one.
    same: list[object] = [work.to_json() for work in make(request, store).works]
    same += [{name: repr(span) for name, span in searched.searched.items()}, setting.seed, setting.sampler]
    same += [setting.share]
    study = SearchStudy(
        f"{method}-r{rank}-{target}-{digest(same)[:8]}",
        setting.storage or f"sqlite:///{store.root / _DATABASE}",
        searched.searched,
        _defaults(request, method),
        setting.seed,
        setting.sampler,
        _owner(store) if setting.storage else "",
    )
    return Quest(request, study, store, setting.share)


def _owner(store: Store) -> str:
    """Return the owner of a study: its run folder, in which only one command at a time works."""
    return str(store.root) if is_remote(store.root) else f"{socket.gethostname()}:{store.root}"


def _defaults(request: Request, method: str) -> dict[str, Scalar]:
    """Return the defaults of a method; if its learning rate is None, take that of the recipe."""
    chosen = values(request.registry.method(method)(**request.settings.get(method, {})))
    if chosen.get("lr", 0) is None:
        chosen["lr"] = request.recipe.lr
    return chosen


def run(request: Request, setting: SearchSettings, store: Store, launch: Launch, command: str) -> list[Outcome]:
    """Search and return the outcome of each quest; configurations of earlier commands are not tried again."""
    found = spaces(request, setting.fields)
    if setting.storage is not None:
        check_storage(setting.storage)
    known(store.root / FILE)  # find a damaged file now rather than after the search
    with store.locked():
        asked = quests(request, found, store, setting)
        for part in found.values():
            for field, reason in part.left_out.items():
                say(f"{part.method}.{field} is not searched: {reason}")
        _work(request, asked, setting.trials, store, launch)
        outcomes = [Outcome.of(quest, setting.objective, setting.trials) for quest in asked]
        facts = provenance(request, setting)
        _save(store, outcomes, facts)
        report.publish(store, outcomes, facts, command)
    return outcomes


def _work(request: Request, asked: Sequence[Quest], trials: int, store: Store, launch: Launch) -> None:
    if all(quest.study.done(trials) for quest in asked):
        return

    def drive(broker: Any, crew: lanes.Crew) -> None:
        from bench.search.tune import drive as think  # Ray Tune is slow to import

        think(broker, crew, asked, trials)

    note_model(request.suite, store)
    note_data(request, store)
    events = lanes.run((), {}, lane_setup(request, store, launch), launch.lanes, drive)
    with closing(events), Progress(None) as progress:
        for event in events:
            progress.take(event)


def provenance(request: Request, setting: SearchSettings) -> dict[str, Any]:
    """Return the settings that the results of a search depend on."""
    return {
        "suite": request.suite.name,
        "model": request.suite.revision(),
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


def _save(store: Store, outcomes: Sequence[Outcome], provenance: Mapping[str, Any]) -> None:
    """Write the choices, and keep those of earlier searches for other methods, ranks and targets."""
    rows = {(row["method"], row["rank"], row["target"]): row for row in known(store.root / FILE)}
    for outcome in outcomes:
        row = {**outcome.to_json(), **provenance}
        old = rows.get(place := (row["method"], row["rank"], row["target"]))
        if old is not None and any(old.get(name) != row[name] for name in _COMPARED):
            say(f"{outcome.label}: {FILE} had a choice from other {', '.join(_COMPARED)}. It is replaced.")
        rows[place] = row
    replace_file(store.root / FILE, json.dumps({"chosen": list(rows.values())}, indent=1) + "\n")
