"""One method at one rank on one target: what is tried, and how a try becomes ordinary trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.plan.plan import Plan, asked, make
from bench.plan.request import Request
from bench.plugins.method import TrainMethod
from bench.search.optuna_study import Study, Tried
from bench.search.pareto import Point
from bench.spec import Asked, Record, Scalar, Work, split_mean
from bench.store.run_folder import Store

RUNGS = (1 / 3, 2 / 3)  # of the updates: where a training is looked at, and perhaps stopped
_RUNG_EXAMPLES = 50  # of every task: the first of its validation split, so that each task counts alike


@dataclass(frozen=True, slots=True)
class Quest:
    """A study with the request that it varies: one method, rank and target, scored on validation.

    A training is stopped early where, at the same step, one that was finished is better by ``margin`` in Source and
    in Target (fractions); None stops nothing. The first seed alone is looked at.
    """

    request: Request
    study: Study
    store: Store
    margin: float | None = None

    @property
    def label(self) -> str:
        """The quest's name for a reader."""
        return f"{self.request.methods[0]}-r{self.request.ranks[0]}-{self.request.targets[0]}"

    def plan(self, hyper: Mapping[str, Scalar]) -> Plan:
        """Return the plan of one configuration: a cell per seed, and the parents they edit.

        The recipe's learning rate is left to the recipe: the default is the trial that bench run trains.
        """
        (method,) = self.request.methods
        chosen = {name: value for name, value in hyper.items() if (name, value) != ("lr", self.request.recipe.lr)}
        settings = {**self.request.settings, method: {**self.request.settings.get(method, {}), **chosen}}
        return make(replace(self.request, settings=settings), self.store)

    @property
    def default(self) -> dict[str, Scalar] | None:
        """The method's defaults among what is searched; None where one of them lies outside its range."""
        first = self.study.first
        return dict(first) if set(first) == self.study.searched else None

    @property
    def parent_settings(self) -> dict[str, Scalar]:
        """What is set of the method that this one edits; nothing where it trains."""
        parent = getattr(self.request.registry.method(self.request.methods[0]), "parent", "")
        return dict(self.request.settings.get(parent, {}))

    def hyper(self, hyper: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return every hyperparameter of one configuration, those that are not searched too."""
        return dict(self.plan(hyper).cells[0].trial.hyper)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The steps at which trainings are looked at; none where nothing is stopped."""
        return () if self.margin is None else self._steps

    @property
    def trains(self) -> bool:
        """Whether the method trains."""
        return issubclass(self.request.registry.method(self.request.methods[0]), TrainMethod)

    @property
    def _steps(self) -> tuple[int, ...]:
        if not self.trains:
            return ()
        updates = self.request.recipe.updates
        return tuple(dict.fromkeys(step for share in RUNGS if 0 < (step := round(share * updates)) < updates))

    def works(self, hyper: Mapping[str, Scalar]) -> tuple[Work, ...]:
        """Return what one configuration comes to: its cells and their parents, without the base model's row."""
        plan = self.plan(hyper)
        works = (work for work in plan.works if work.trial.id != plan.zero_shot.id)
        return tuple(
            replace(work, snapshots=self.rungs, rungs=self._rung_scores)
            if self.rungs
            and work.trial.seed == self.request.seeds[0]
            and self.store.change_of(work.trial).facts() is None
            else work  # what is trained is not trained again for the sake of its rungs
            for work in works
        )

    @property
    def _rung_scores(self) -> tuple[Asked, ...]:
        limit = min(_RUNG_EXAMPLES, self.request.limit or _RUNG_EXAMPLES)
        return asked(replace(self.request, limit=limit), self.request.targets)

    def seen(self, hyper: Mapping[str, Scalar]) -> dict[int, Point]:
        """Return what a configuration's training gave at the steps where it was looked at."""
        trial, scores = self.plan(hyper).cells[0].trial, self._rung_scores
        known = {step: self.store.change_of(trial).snapshot(step).scores() for step in self._steps}
        return {
            step: Point(0, *split_mean(scores, values, trial.target))
            for step, values in known.items()
            if all(item.key in values for item in scores)
        }

    def stops(self, hyper: Mapping[str, Scalar], step: int, source: float, target: float) -> bool:
        """Whether a configuration's training is to end at a step. The default's never is: all are shown beside it."""
        return dict(hyper) != self.default and self.hopeless(step, source, target)

    def hopeless(self, step: int, source: float, target: float) -> bool:
        """Whether a finished configuration was better by the margin in both objectives at the same step."""
        rivals = (self.seen(tried.hyper).get(step) for tried in self.study.tried() if tried.state == "done")
        here = Point(0, source, target)
        return any(rival is not None and rival.dominates(here, self.margin or 0.0) for rival in rivals)

    def saved(self, tried: Tried) -> int:
        """Return how many updates were not trained because the configuration was stopped; 0 where it is not known."""
        seen = self.seen(tried.hyper) if tried.state == "stopped" else {}
        updates = self.request.recipe.updates
        return len(self.request.seeds) * updates - max(seen) if seen else 0


def measure(works: Sequence[Work], records: Mapping[str, Record]) -> tuple[float, float] | None:
    """Return Source and Target of a configuration, means over its seeds; None where a cell failed or lacks a score."""
    pairs = []
    for work in works:
        if not work.asked:  # a parent that is no cell
            continue
        record = records.get(work.trial.id)
        pair = None if record is None else record.mean(work.asked)
        if pair is None:
            return None
        pairs.append(pair)
    return fmean(source for source, _ in pairs), fmean(target for _, target in pairs)
