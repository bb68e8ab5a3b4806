"""What is left to do of a plan, and how long that takes at known rates."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.environment import cores
from bench.errors import BenchError
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plugins.method import EditMethod, Method
from bench.prepare.price.rates import Fleet, Rates
from bench.trial.hooks import called
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial


@dataclass(frozen=True, slots=True)
class Todo:
    """What is left to do of one trial: whether it still trains or edits, and the scores that it lacks.

    ``slowdown`` and ``captured`` are what the trial's method declares.
    """

    trial: Trial
    trains: bool
    scores: tuple[ScoreSpec, ...]
    edits: bool = False
    slowdown: float = 1.0
    captured: int = 0

    @property
    def answers(self) -> int:
        """How many answers are still to be generated."""
        return sum(asked.count for asked in self.scores)

    def training_seconds(self, rates: Rates) -> float:
        """Return the GPU-seconds of training."""
        recipe = self.trial.recipe
        examples = recipe.updates * recipe.batch_size if self.trains else 0
        return examples / rates.of(self.trial.method, self.slowdown)

    def edit_seconds(self, rates: Rates) -> float:
        """Return the GPU-seconds of an edit: as measured, or those of its passes."""
        return rates.edit_seconds(self.trial.method, self.captured) if self.edits else 0.0

    def seconds(self, rates: Rates) -> float:
        """Return the GPU-seconds of training, of an edit, and of generation."""
        answering = sum(asked.count / rates.answers_of(asked.task) for asked in self.scores)
        return self.training_seconds(rates) + self.edit_seconds(rates) + answering


def todo(plan: Plan) -> tuple[Todo, ...]:
    """Return what is left to do of every trial, parents before children."""
    trainings = {job.trial.id for job in plan.trainings}
    ways = dict[tuple[str, int], tuple[float, int]]()  # the plan keeps the hyperparameters' objects alive
    found = []
    for job in plan.jobs:
        record = plan.records.get(job.trial.id)
        scores = job.asked if record is None else record.lacks(job.asked)
        learns, trains = plan.learns(job), job.trial.id in trainings
        way = (job.trial.method, id(job.trial.hyper))
        if learns and way not in ways:
            ways[way] = _declared(plan.method(job.trial))
        slowdown, captured = ways[way] if learns else (1.0, 0)
        found.append(Todo(job.trial, learns and trains, scores, learns and not trains, slowdown, captured))
    return tuple(found)


def _declared(method: Method) -> tuple[float, int]:
    """Return how much slower than LoRA a method trains, and how many examples an edit captures."""
    return called(method.slowdown), called(method.captured) if isinstance(method, EditMethod) else 0


def gpu_hours(items: tuple[Todo, ...], rates: Rates) -> float:
    """Return the GPU-hours of all that is left to do."""
    return sum(item.seconds(rates) for item in items) / 3600


def makespan(items: Sequence[tuple[str, str | None, float]], lanes: int) -> float:
    """Return the second at which the last item ends; each item goes to the lane that is free first.

    An item is (id, its parent's id, seconds). Items start in the given order, and none before its parent has ended.

    >>> makespan([("a", None, 3.0), ("b", None, 1.0), ("c", "a", 1.0)], lanes=2)
    4.0
    """
    free, ends = [0.0] * lanes, dict[str, float]()
    for name, parent, seconds in items:
        ready = ends.get(parent, 0.0) if parent else 0.0
        ends[name] = max(heapq.heappop(free), ready) + seconds
        heapq.heappush(free, ends[name])
    return max(ends.values(), default=0.0)


def wall_seconds(items: Iterable[Todo], rates: Rates, workers: int, lanes: int) -> float:
    """Return the seconds until all that is left is done, on lanes of ``workers`` devices each."""
    taken = [
        (item.trial.id, item.trial.parent.id if item.trial.parent else None, item.seconds(rates) / workers)
        for item in items
    ]
    return makespan(taken, lanes)


def lane_count(fleet: Fleet | None, workers: int, most: int | None) -> int:
    """Return how many trials run at once on a fleet, or on this CPU, each on ``workers`` devices.

    ``most`` is the number of lanes that a command asks for: 0 is one process, None as many as the devices allow.
    """
    possible = max(1, (fleet.count if fleet else cores()) // workers)
    return possible if most is None else max(1, min(most, possible))


def declared(request: Request, name: str) -> float:
    """Return how many times as long as LoRA's an update of a method takes, as the method declares."""
    try:
        method = request.registry.method(name)(**request.settings_of(name))
    except BenchError:  # a record of an earlier run, whose plugin file this command does not name
        return 1.0
    return called(method.slowdown)
