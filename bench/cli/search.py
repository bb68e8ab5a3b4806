"""``bench search``: every method is tuned with the same budget, on validation."""

from __future__ import annotations

import json
import socket
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from bench.cli.work import check_lanes, check_output, lane_setup, note_data, note_model
from bench.console import say, tell
from bench.environment import commit
from bench.errors import UsageError
from bench.lanes import lanes
from bench.lanes.progress import Progress
from bench.plan.plan import Request, make
from bench.plan.request import read
from bench.plan.tuned import FILE, known
from bench.plugins.hyperparameters import field_name, ranges, values
from bench.plugins.registry import load_method
from bench.search import report
from bench.search.optuna_study import Sampler, Study, check_storage
from bench.search.outcome import Outcome, lines
from bench.search.quest import Quest
from bench.search.space import Space, space
from bench.spec import Scalar, digest
from bench.store.last_run import line
from bench.store.places import is_remote, replace_file
from bench.store.run_folder import Store

_DATABASE = "search.db"
_COMPARED = ("sources", "limit", "seeds", "trials", "search_seed", "margin", "sampler")


def search(options: Namespace) -> int:
    """Tune every method with the same budget, on validation."""
    asked = replace(read(options), split="validation")
    check_lanes(options)
    check_output(options)
    if is_remote(options.output) and options.storage is None:
        raise UsageError(
            f"A search keeps its studies in a database, which cannot lie in {options.output}. Name one with --storage, "
            "for instance postgresql://HOST/NAME."
        )
    if asked.tuned:
        raise UsageError("--tuned is for bench run: it takes what bench search has found.")
    if options.lanes == 0:
        raise UsageError("--lanes is 0; a search runs on Ray Tune and needs at least one lane.")
    if options.trials < 1:
        raise UsageError(f"--trials is {options.trials}; give at least 1.")
    if options.search_seed < 0:
        raise UsageError(f"--search-seed is {options.search_seed}; give 0 or more.")
    options.margin = _points(options.margin)
    if asked.controls or asked.strengths:
        raise UsageError("--baselines and --rewind are for bench run: they are rows of a leaderboard.")
    outcomes = run(asked, options, say)
    tell(lines(outcomes))
    say(f"wrote {options.output / FILE}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _points(text: str) -> float | None:
    """Return a margin in points, or None where nothing is to be stopped."""
    try:
        margin = None if text == "none" else float(text)
    except ValueError:
        margin = -1.0
    if margin is not None and not 0 <= margin <= 100:
        raise UsageError(f"--margin is {text}; give 0 to 100 points, or none.")
    return margin


def spaces(request: Request, fields: Sequence[str] | None = None) -> dict[str, Space]:
    """Return what is searched of each method; ``fields`` names what alone is.

    Raises:
        UsageError: a method has nothing to search, or a field is of no method.
    """
    if not request.methods:
        raise UsageError("There is no method to search: zero_shot has nothing to tune.")
    methods = [load_method(name) for name in request.methods]
    for field in fields or ():
        if not any(field_name(method, field) in ranges(method) for method in methods):
            raise UsageError(f"--fields: none of {', '.join(request.methods)} has a hyperparameter {field!r}.")
    found = {}
    for method in methods:
        part = space(method, request.recipe, request.settings.get(method.name, {}), fields)
        if not part.searched:
            reasons = "; ".join(f"{name} {reason}" for name, reason in part.left_out.items())
            raise UsageError(
                f"{method.name} has nothing to search: {reasons or 'no hyperparameter of it declares a range'}. "
                "Leave it out of --methods."
            )
        found[method.name] = part
    return found


@dataclass(frozen=True, slots=True)
class Setting:
    """How a search goes: its seed, what is sampled how, when trainings are stopped (see Quest), where studies lie."""

    seed: int = 0
    sampler: Sampler = "tpe"
    margin: float | None = None
    storage: str | None = None

    @classmethod
    def of(cls, options: Namespace) -> Setting:
        """Read the command line's options; a margin is given in points."""
        margin = None if options.margin is None else options.margin / 100
        return cls(options.search_seed, options.sampler, margin, options.storage)


def quests(request: Request, found: Mapping[str, Space], store: Store, setting: Setting) -> tuple[Quest, ...]:
    """Return a quest per method, rank and target, each over the study that an earlier command may have begun."""
    places = product(request.targets, request.ranks, request.methods)
    return tuple(
        _quest(replace(request, methods=(method,), ranks=(rank,), targets=(target,)), found[method], store, setting)
        for target, rank, method in places
    )


def _quest(request: Request, searched: Space, store: Store, setting: Setting) -> Quest:
    (method,), (rank,), (target,) = request.methods, request.ranks, request.targets
    # Everything that decides what a configuration gives: a change of any of it is another study.
    same: list[object] = [work.to_json() for work in make(request, store).works]
    same += [{name: repr(span) for name, span in searched.searched.items()}, setting.seed, setting.sampler]
    same += [setting.margin]
    study = Study(
        f"{method}-r{rank}-{target}-{digest(same)[:8]}",
        setting.storage or f"sqlite:///{store.root / _DATABASE}",
        searched.searched,
        _defaults(request, method),
        setting.seed,
        setting.sampler,
        _owner(store) if setting.storage else "",
    )
    return Quest(request, study, store, setting.margin)


def _owner(store: Store) -> str:
    """Return who hands out a study's configurations: the run folder, which one command at a time works in."""
    return str(store.root) if is_remote(store.root) else f"{socket.gethostname()}:{store.root}"


def _defaults(request: Request, method: str) -> dict[str, Scalar]:
    """Return the method's defaults; a learning rate it leaves to the recipe is the recipe's."""
    chosen = values(load_method(method)(**request.settings.get(method, {})))
    if chosen.get("lr", 0) is None:
        chosen["lr"] = request.recipe.lr
    return chosen


def run(request: Request, options: Namespace, say: Callable[[str], None]) -> list[Outcome]:
    """Search, and return what each quest came to; what an earlier command has tried is not tried again."""
    store = Store(options.output.resolve())
    fields = options.fields and [word.strip() for word in options.fields.split(",") if word.strip()]
    found = spaces(request, fields)
    if options.storage is not None:
        check_storage(options.storage)
    known(store.root / FILE)  # a damaged one is better noticed now
    with store.locked():
        asked = quests(request, found, store, Setting.of(options))
        for part in found.values():
            for field, reason in part.left_out.items():
                say(f"{part.method}.{field} is not searched: {reason}")
        _work(request, asked, options, store)
        outcomes = [Outcome.of(quest, options.objective, options.trials) for quest in asked]
        provenance = _provenance(request, options)
        _save(store, outcomes, provenance)
        report.publish(store, outcomes, provenance, line(options))
    return outcomes


def _work(request: Request, asked: Sequence[Quest], options: Namespace, store: Store) -> None:
    if all(quest.study.done(options.trials) for quest in asked):
        return

    def drive(broker: Any, crew: lanes.Crew) -> None:
        from bench.search.tune import drive as think  # Ray Tune is slow to import

        think(broker, crew, asked, options.trials)

    note_model(request.suite, store)
    note_data(request, store)
    events = lanes.run((), {}, lane_setup(request, store, options), options.lanes, drive)
    with closing(events), Progress(None) as progress:
        for event in events:
            progress.take(event)


def _provenance(request: Request, options: Namespace) -> dict[str, Any]:
    return {
        "suite": request.suite.name,
        "model": request.suite.revision(),
        "recipe": request.recipe.to_json(),
        "split": request.split,
        "sources": list(request.sources),
        "limit": request.limit,
        "seeds": list(request.seeds),
        "trials": options.trials,
        "search_seed": options.search_seed,
        "objective": options.objective,
        "margin": options.margin,
        "sampler": options.sampler,
        "commit": commit(),
    }


def _save(store: Store, outcomes: Sequence[Outcome], provenance: Mapping[str, Any]) -> None:
    """Write what is chosen beside what earlier searches chose for other methods, ranks and targets."""
    rows = {(row["method"], row["rank"], row["target"]): row for row in known(store.root / FILE)}
    for outcome in outcomes:
        row = {**outcome.to_json(), **provenance}
        old = rows.get(place := (row["method"], row["rank"], row["target"]))
        if old is not None and any(old.get(name) != row[name] for name in _COMPARED):
            say(f"{outcome.label}: {FILE} had a choice of another search ({', '.join(_COMPARED)}); it is replaced")
        rows[place] = row
    replace_file(store.root / FILE, json.dumps({"chosen": list(rows.values())}, indent=1) + "\n")
