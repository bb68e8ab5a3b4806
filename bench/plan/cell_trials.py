"""Make the trials of cells: one method, rank, target and seed under the settings of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import UsageError
from bench.model.family import adapted_roles
from bench.plan.fingerprint import of_split
from bench.plan.request import Request
from bench.plan.sources import check_source
from bench.plugins.hyperparameters import values
from bench.plugins.method import EditMethod, TrainMethod, mixes
from bench.plugins.source import LENGTH, of_plugin
from bench.values.canonical import digest
from bench.values.trial import Trial


class CellTrials:
    """The trials of a grid of cells.

    Trials that differ in rank and seed alone are copies of one trial, and an edit has as its parent the object that is
    the parent's own cell, so that each id is computed once.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._first: dict[tuple[str, str, int | None], Trial] = {}
        self._made: dict[tuple[str, int, str, int], Trial] = {}

    def of(self, method: str, rank: int, target: str, seed: int) -> Trial:
        """Return the trial of a cell under the request's settings (see ``cell_trial``)."""
        place = (method, rank, target, seed)
        if place not in self._made:
            if (method, target, None) not in self._first:
                self._first[method, target, None] = cell_trial(self._request, *place)
            self._made[place] = self._at(self._first[method, target, None], rank, seed)
        return self._made[place]

    def tuned(self, method: str, rank: int, target: str, seed: int) -> Trial:
        """Return the trial of a cell with the hyperparameters that a search chose for it; its parent keeps its own."""
        if (method, target, rank) not in self._first:
            chosen = self._request.tuned[method, rank, target].hyper
            settings = {**self._request.settings, method: {**self._request.settings.get(method, {}), **chosen}}
            tuned = replace(self._request, settings=settings)
            self._first[method, target, rank] = cell_trial(tuned, method, rank, target, seed)
        return self._at(self._first[method, target, rank], rank, seed)

    def _at(self, trial: Trial, rank: int, seed: int) -> Trial:
        parent = trial.parent and self.of(trial.parent.method, rank, str(trial.target), seed)
        return replace(trial, rank=rank, seed=seed, parent=parent)


def cell_trial(request: Request, name: str, rank: int, target: str, seed: int) -> Trial:
    """Return the trial of a method's cell under the request's settings.

    Raises:
        UsageError: the method edits one that does not train, reads adapters that the recipe leaves out, needs a change
            of weights that does not exist, or sees examples of sources that are missing.
    """
    method = request.registry.method(name)
    built = method(**request.settings_of(name))
    adapted = adapted_roles(request.recipe.adapt)
    if missing := [role for role in built.roles() if role not in adapted]:
        raise UsageError(
            f"{name} needs adapters on {', '.join(built.roles())}, but recipe.adapt={request.recipe.adapt} puts none "
            f"on {', '.join(missing)}. Leave {name} out, or adapt these layers too."
        )
    if not method.merges and request.recipe.quantization != "none":
        raise UsageError(
            f"{name} cannot train on 4-bit weights (--base 4bit), because each example chooses its factors from what "
            "the layers read. Answers are scored with full weights, whose layers read other numbers and would choose "
            f"others. Leave {name} out, or use --base full."
        )
    parent = None
    if issubclass(method, EditMethod):
        if not issubclass(request.registry.method(method.parent), TrainMethod):
            raise UsageError(f"{name} edits {method.parent!r}, which does not train. Give {name} a parent that trains.")
        if not request.registry.method(method.parent).merges:
            raise UsageError(
                f"{name} edits what {method.parent} has learnt, but each example chooses its own part of that, so it "
                f"is not a change of weights. Give {name} another parent."
            )
        parent = cell_trial(request, method.parent, rank, target, seed)
    sources = tuple(sorted(request.sources)) if mixes(method) else ()
    if mixes(method) and not sources:
        raise UsageError(
            f"{name} trains on examples of the sources, and there is none. Give --sources, or drop {name}."
        )
    return Trial(
        method=name,
        hyper=values(built),
        rank=rank,
        target=target,
        seed=seed,
        recipe=request.recipe,
        model=request.revision(),
        data="" if request.assumed else _taught_data(request, name, target, sources),
        code=of_plugin(method),
        parent=parent,
        sources=sources,
    )


def _taught_data(request: Request, name: str, target: str, sources: Sequence[str]) -> str:
    """Return the digest of the examples that a method's training may see.

    Raises:
        UsageError: a source has no training examples.
    """
    own = of_split(request.tasks.load(target), "train", None)
    if not sources:
        return own
    found = {}
    for source in sources:
        task = request.tasks.load(source)
        check_source(task, source, name)
        found[source] = of_split(task, "train", None)
    return digest([own, found])[:LENGTH]
