"""``bench search``: every method is tuned with the same budget, on validation."""

from __future__ import annotations

import json
import socket
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from bench import lanes
from bench.console import say, tell
from bench.environment import commit
from bench.errors import UsageError
from bench.hyperparameters import Scalar, field_name, ranges, values
from bench.last import line
from bench.perform import check_lanes
from bench.plan import Request, make
from bench.progress import Progress
from bench.registry import load_method
from bench.request import read
from bench.search import report
from bench.search.front import Objective, Point, front, hypervolume, pick
from bench.search.quest import Quest
from bench.search.space import Space, space
from bench.search.study import Sampler, Study, Tried, check_storage
from bench.spec import digest
from bench.store import Store, replace_file
from bench.tuned import FILE, known

_DATABASE = "search.db"


def search(options: Namespace) -> int:
    """Tune every method with the same budget, on validation."""
    asked = replace(read(options), split="validation")
    check_lanes(options)
    if asked.tuned:
        raise UsageError("--tuned is for bench run: it takes what bench search has found.")
    if options.lanes == 0:
        raise UsageError("--lanes is 0; a search runs on Ray Tune and needs at least one lane.")
    if options.trials < 1:
        raise UsageError(f"--trials is {options.trials}; give at least 1.")
    if options.margin is not None and not 0 <= options.margin <= 100:
        raise UsageError(f"--margin is {options.margin:g}; give 0 to 100 points, or none.")
    if asked.controls or asked.strengths:
        raise UsageError("--baselines and --rewind are for bench run: they are rows of a leaderboard.")
    outcomes = run(asked, options, say)
    tell(lines(outcomes))
    say(f"wrote {options.output / FILE}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


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
    study = Study(
        f"{method}-r{rank}-{target}-{digest(same)[:8]}",
        setting.storage or f"sqlite:///{store.root / _DATABASE}",
        searched.searched,
        _defaults(request, method),
        setting.seed,
        setting.sampler,
        f"{socket.gethostname()}:{store.root}",
    )
    return Quest(request, study, store, setting.margin)


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
        from bench.search.brain import drive as think  # Ray Tune is slow to import

        think(broker, crew, asked, options.trials)

    setup = lanes.Setup(store.root, request.suite.model, tuple(path.resolve() for path in options.plugin))
    events = lanes.run((), {}, setup, options.lanes, drive)
    with closing(events), Progress(None) as progress:
        for event in events:
            progress.take(event)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a quest came to: its configurations, the front, the one that is chosen, and the default's point."""

    quest: Quest
    tried: tuple[Tried, ...]
    front: tuple[Point, ...]
    hypervolume: float
    chosen: Tried | None
    default: Tried | None
    importance: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, quest: Quest, objective: Objective, trials: int) -> Outcome:
        """Read the first ``trials`` configurations of a quest's study: more would be another budget."""
        tried = quest.study.tried()[:trials]
        points = [item.point for item in tried if item.point is not None]
        best = pick(points, objective) if points else None
        return cls(
            quest,
            tried,
            front(points),
            hypervolume(points),
            next((item for item in tried if best is not None and item.number == best.number), None),
            next((item for item in tried if dict(item.hyper) == quest.default), None),
            quest.study.importances(trials),
        )

    @property
    def failed(self) -> int:
        """How many configurations gave nothing."""
        return sum(item.state == "failed" for item in self.tried)

    @property
    def stopped(self) -> int:
        """How many configurations were stopped early."""
        return sum(item.state == "stopped" for item in self.tried)

    @property
    def saved(self) -> int:
        """How many updates were not trained for it."""
        return sum(self.quest.saved(item) for item in self.tried if item.state == "stopped")

    @property
    def label(self) -> str:
        """The quest's name."""
        return self.quest.label

    def to_json(self) -> dict[str, Any]:
        """Return what is chosen and what it stands on, as JSON."""
        request = self.quest.request
        return {
            "method": request.methods[0],
            "rank": request.ranks[0],
            "target": request.targets[0],
            "study": self.quest.study.name,
            "tried": len(self.tried),
            "failed": self.failed,
            "stopped": self.stopped,
            "updates_saved": self.saved,
            "hypervolume": self.hypervolume,
            "front": [asdict(point) for point in self.front],
            "parent": self.quest.parent_settings,
            "default": self._told(self.default),
            "chosen": self._told(self.chosen),
            "importance": {name: dict(shares) for name, shares in self.importance.items()},
        }

    def _told(self, tried: Tried | None) -> dict[str, Any] | None:
        if tried is None or tried.point is None:
            return None
        point = tried.point
        return {
            "hyper": self.quest.hyper(tried.hyper),
            "number": tried.number,
            "source": point.source,
            "target": point.target,
            "avg": point.avg,
        }


def _provenance(request: Request, options: Namespace) -> dict[str, Any]:
    return {
        "suite": request.suite.name,
        "model": request.suite.revision(),
        "recipe": request.recipe.to_json(),
        "split": request.split,
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
        row = outcome.to_json()
        rows[row["method"], row["rank"], row["target"]] = {**row, **provenance}
    replace_file(store.root / FILE, json.dumps({"chosen": list(rows.values())}, indent=1) + "\n")


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a table of what was found, validation scores x 100."""
    width = max(len(outcome.label) for outcome in outcomes)
    yield f"{'':{width}}  tried failed stopped front hypervolume   default: S / T / Avg     chosen: S / T / Avg  with"
    for outcome in outcomes:
        counts = f"{len(outcome.tried):5} {outcome.failed:6} {outcome.stopped:7}"
        counts += f" {len(outcome.front):5} {outcome.hypervolume:11.3f}"
        points = f"{_scores(outcome.default):>23} {_scores(outcome.chosen):>23}"
        yield f"{outcome.label:{width}}  {counts} {points}  {_settings(outcome.chosen)}"
    if stopped := sum(outcome.stopped for outcome in outcomes):
        trained = sum(len(outcome.tried) * outcome.quest.request.recipe.updates for outcome in outcomes)
        saved = sum(outcome.saved for outcome in outcomes)
        yield f"Stopped early: {stopped}; {saved} of {trained} updates were not trained ({saved / trained:.0%})."
    yield from report.importance_lines(outcomes)
    yield "Validation scores x 100; the test splits were not read. bench run --tuned runs what was chosen."


def _scores(tried: Tried | None) -> str:
    if tried is None or tried.point is None:
        return "-"
    return f"{100 * tried.point.source:.1f} / {100 * tried.point.target:.1f} / {100 * tried.point.avg:.1f}"


def _settings(tried: Tried | None) -> str:
    if tried is None:
        return "every configuration failed"
    return ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in tried.hyper.items())
