"""Define what a command asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.plan.sources import source_fault
from bench.plan.suite import Suite
from bench.plan.tuned import Settings, Tuned
from bench.plan.words import unknown_answers
from bench.plugins.method import EditMethod, Method, mixes
from bench.plugins.registry import REPLAY, Registry
from bench.plugins.task import Split
from bench.plugins.tasks import Tasks
from bench.values.recipe import Recipe
from bench.values.trial import Scalar


@dataclass(frozen=True, slots=True)
class Request:
    """What a command asks for, after every name and range was checked.

    ``limit`` is the largest number of examples per score. ``tuned`` holds what a search chose, by method, rank and
    target. Each choice adds a tuned row next to the default row, and the parent of a tuned edit keeps its ``settings``.
    ``controls`` adds trivial baselines, and ``strengths`` are the points of every row's trade-off curve, from 0 to 1
    (bench.plan.baselines). ``tasks`` has every plugin, and says how tasks are read. ``assumed`` plans without base
    model and data: tasks count with their declared sizes, and nothing counts as cached. If ``every_source``, sources at
    chance count too (bench.plan.chance). ``unteachable`` says why examples of a source cannot be taught, which only a
    command that starts work finds out, because that takes the tokenizer.
    """

    suite: Suite
    methods: tuple[str, ...]
    ranks: tuple[int, ...]
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    recipe: Recipe
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    settings: Settings = field(default_factory=dict)
    split: Split = "test"
    tuned: Tuned = field(default_factory=dict)
    controls: bool = False
    strengths: tuple[float, ...] = ()
    tasks: Tasks = field(default_factory=Tasks)
    assumed: bool = False
    every_source: bool = False
    unteachable: str = ""

    @property
    def registry(self) -> Registry:
        """The plugins of this request."""
        return self.tasks.registry

    @property
    def taught(self) -> tuple[str, ...]:
        """The tasks whose training splits are read: the targets, and the sources if a training sees them."""
        seen = self.mixing or (self.controls and not self.unreplayed)
        return tuple(dict.fromkeys((*self.targets, *(self.sources if seen else ()))))

    @property
    def mixing(self) -> str:
        """The first of the methods whose trainings see examples of the sources, or nothing."""
        return next((name for name in self.methods if mixes(self._trained(name))), "")

    @property
    def unreplayed(self) -> str:
        """Why LoRA with replay cannot be among the controls, or nothing."""
        if not self.sources:
            return "there is no source."
        if self.assumed or self.unteachable:
            return self.unteachable
        return next(filter(None, map(self._unreplayable, self.sources)), "")

    def _unreplayable(self, source: str) -> str:
        """Return why replay cannot train on examples of a source, or nothing."""
        task = self.tasks.load(source)
        if (reason := source_fault(task, source, REPLAY)) or not self.suite.here():
            return reason
        found = unknown_answers(task, source, self.suite.name, self.suite.folder)
        return f"{REPLAY} trains on examples of every source. {found.refusal}" if found else ""

    def _trained(self, method: str) -> type[Method]:
        """Return the method itself, or the one that trains what it edits."""
        found = self.registry.method(method)
        return self._trained(found.parent) if issubclass(found, EditMethod) else found

    def settings_of(self, method: str) -> dict[str, Scalar]:
        """Return the settings of a method: those of the suite, which those of the command override."""
        return {**self.suite.settings.get(method, {}), **self.settings.get(method, {})}

    def revision(self) -> str:
        """Return the base model's revision, or "" if the model is only assumed."""
        return "" if self.assumed else self.suite.revision()
