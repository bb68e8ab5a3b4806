"""One method at one rank on one target: what is tried, and how a try becomes ordinary trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.hyperparameters import Scalar
from bench.plan import Plan, Request, make
from bench.registry import load_method
from bench.search.study import Study
from bench.spec import Record, Work
from bench.store import Store


@dataclass(frozen=True, slots=True)
class Quest:
    """A study with the request that it varies: one method, rank and target, scored on validation."""

    request: Request
    study: Study
    store: Store

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
        parent = getattr(load_method(self.request.methods[0]), "parent", "")
        return dict(self.request.settings.get(parent, {}))

    def hyper(self, hyper: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return every hyperparameter of one configuration, those that are not searched too."""
        return dict(self.plan(hyper).cells[0].trial.hyper)

    def works(self, hyper: Mapping[str, Scalar]) -> tuple[Work, ...]:
        """Return what one configuration comes to: its cells and their parents, without the base model's row."""
        plan = self.plan(hyper)
        return tuple(work for work in plan.works if work.trial.id != plan.zero_shot.id)


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
