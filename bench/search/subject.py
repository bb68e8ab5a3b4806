"""What a quest searches: the method, rank and target, or one chain of a sequence, and the trials of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from typing_extensions import override

from bench.plan.chains import ChainRequest, order_name
from bench.plan.plan import Plan, assemble, make
from bench.plan.request import Request
from bench.plan.tuned import QuestKey, quest_label
from bench.plugins.method import TrainMethod
from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.trial import Scalar


@dataclass(frozen=True, slots=True)
class Subject:
    """One method at one rank on one target, scored on validation; ``request`` has these alone."""

    request: Request
    store: Store

    @property
    def key(self) -> QuestKey:
        """The method, the rank and the target."""
        (method,), (rank,), (target,) = self.request.methods, self.request.ranks, self.request.targets
        return (method, rank, target)

    @property
    def label(self) -> str:
        """The name for a reader."""
        return quest_label(self.key)

    @property
    def order(self) -> tuple[str, ...]:
        """The tasks of a chain in their order, or nothing for a single target."""
        return ()

    @property
    def varied(self) -> str:
        """The method whose hyperparameters are searched."""
        return self.key[0]

    @property
    def trains(self) -> int:
        """How many trainings a configuration has for each seed; 0 for an edit method."""
        return int(issubclass(self.request.registry.method(self.varied), TrainMethod))

    def plan(self, hyper: Mapping[str, Scalar]) -> Plan:
        """Return the plan of one configuration: one cell per seed, and the parents that the cells edit.

        A learning rate equal to the recipe's is not set, so that the default is the same trial as in ``bench run``.
        """
        return make(self._with(hyper), self.store)

    def _with(self, hyper: Mapping[str, Scalar]) -> Request:
        method, settings = self.varied, self.request.settings
        chosen = {name: value for name, value in hyper.items() if (name, value) != ("lr", self.request.recipe.lr)}
        return replace(self.request, settings={**settings, method: {**settings.get(method, {}), **chosen}})


@dataclass(frozen=True, slots=True)
class ChainSubject(Subject):
    """One method in one order of a sequence of tasks, at one rank; ``chains`` has this method and this order alone.

    Target is AP, the mean of all tasks after the last stage.
    """

    chains: ChainRequest

    @property
    @override
    def key(self) -> QuestKey:
        (method,), (rank,), (order,) = self.chains.methods, self.request.ranks, self.chains.orders
        return (method.name, rank, order_name(order))

    @property
    @override
    def order(self) -> tuple[str, ...]:
        return self.chains.orders[0]

    @property
    @override
    def varied(self) -> str:
        return self.chains.methods[0].parts[-1]

    @property
    @override
    def trains(self) -> int:
        (method,), (order,) = self.chains.methods, self.chains.orders
        return len(order) - bool(method.edit)  # the stage before the first edit is the same for all configurations

    @override
    def plan(self, hyper: Mapping[str, Scalar]) -> Plan:
        """Return the plan of one configuration: the last stage of the chain for each seed, and the stages before."""
        (method,), (rank,), (order,) = self.chains.methods, self.request.ranks, self.chains.orders
        chains = replace(self.chains, request=self._with(hyper))
        found = [chains.chain(method, order, rank, seed) for seed in self.request.seeds]
        jobs = [Job(chain.stages[-1], chains.scores(chain, len(order))) for chain in found]
        return assemble(chains.request, (), self.store, jobs)
