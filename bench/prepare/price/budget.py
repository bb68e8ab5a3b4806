"""Propose runs that fit into a budget of GPU-hours, as command lines to copy."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from bench.errors import UsageError
from bench.plan.request import Request
from bench.plugins.groups import words_for
from bench.plugins.method import EditMethod
from bench.plugins.registry import BASELINE, Registry
from bench.prepare.price.fitting import Fit
from bench.prepare.price.quote import size
from bench.prepare.price.rates import Rates
from bench.prepare.price.work import declared
from bench.trial.hooks import called

_LIMITS = (None, 2000, 1000, 500, 200, 100)
_SEEDS = (5, 3, 2, 1)
_NORMAL = 1.96


@dataclass(frozen=True, slots=True)
class Proposal:
    """A run that may fit: the methods, ranks, targets, seeds and --limit that it takes of a request."""

    methods: tuple[str, ...]
    ranks: tuple[int, ...]
    targets: tuple[str, ...]
    seeds: int
    limit: int | None

    @property
    def most(self) -> float:
        """The limit as a number; infinity if there is no limit."""
        return math.inf if self.limit is None else self.limit


# What each wish maximizes; tuples are compared entry by entry.
_WISHES: Mapping[str, Callable[[Proposal], tuple[float, ...]]] = {
    "most rows": lambda it: (len(it.methods), len(it.targets), len(it.ranks), it.most, it.seeds),
    "most seeds": lambda it: (it.seeds, len(it.methods), len(it.targets), it.most, len(it.ranks)),
    "whole test sets": lambda it: (it.most, len(it.methods), len(it.targets), len(it.ranks), it.seeds),
}


@dataclass(frozen=True, eq=False)
class Budget:
    """The hours of any choice from a request, as if nothing were cached.

    ``sizes`` are the numbers of examples that each task scores. ``unit`` is the name of an hour of one device.
    """

    request: Request
    rates: Rates
    sizes: Mapping[str, int]
    unit: str = "GPU-hours"

    @classmethod
    def of(cls, request: Request, rates: Rates, unit: str = "GPU-hours") -> Budget:
        """Return the budget of a request.

        Raises:
            UsageError: the request has rows that depend on the scores of other rows.
        """
        if request.controls or request.tuned or request.strengths:
            raise UsageError("--budget proposes plain runs only. Drop --baselines, --tuned and --rewind.")
        names = dict.fromkeys((*request.sources, *request.targets))
        return cls(request, rates, {name: size(request, name, request.split) for name in names}, unit)

    def hours(self, choice: Proposal) -> float:
        """Return the GPU-hours of a choice; edits share their parent's training, the base model counts once."""
        recipe, places = self.request.recipe, len(choice.ranks) * len(choice.targets) * choice.seeds
        examples = recipe.updates * recipe.batch_size
        names = _trained(choice.methods, self.request.registry)
        training = places * sum(examples / self.rates.of(name, declared(self.request, name)) for name in names)
        sources = sum(self._count(name, choice) for name in self.request.sources)
        targets = [self._count(name, choice) for name in choice.targets]
        models = len(choice.methods) * len(choice.ranks) * choice.seeds
        answers = sources + sum(targets) + models * (len(targets) * sources + sum(targets))
        return (training + places * self._editing(choice) + answers / self.rates.answer) / 3600

    def _editing(self, choice: Proposal) -> float:
        """Return the GPU-seconds of all edits of a choice at one rank, target and seed."""
        registry, settings = self.request.registry, self.request.settings_of
        methods = {name: registry.method(name)(**settings(name)) for name in choice.methods}
        edits = {name: called(method.captured) for name, method in methods.items() if isinstance(method, EditMethod)}
        return sum(self.rates.edit_seconds(name, captured) for name, captured in edits.items())

    def half_width(self, names: Sequence[str], choice: Proposal) -> float:
        """Return an upper bound of the half-width of the 95 % interval of a mean over tasks, in points.

        A score between 0 and 1 has a variance of at most 1/4, so that the mean of k tasks has a standard error of at
        most sqrt(sum 1 / (4 n)) / k. The interval is a normal approximation. CIDEr has no such bound.
        """
        variance = sum(1 / (4 * self._count(name, choice)) for name in names)
        return 100 * _NORMAL * math.sqrt(variance) / len(names)

    def choices(self) -> Iterator[Proposal]:
        """Yield all choices: fewer methods, ranks, targets and examples than requested, or more seeds."""
        ranks, targets = self.request.ranks, self.request.targets
        several = dict.fromkeys((ranks, (32 if 32 in ranks else sorted(ranks)[len(ranks) // 2],)))
        limits = [limit for limit in _LIMITS if limit is None or limit < max(self.sizes.values())]
        if (most := self.request.limit) is not None:
            limits = [most, *(limit for limit in limits if limit is not None and limit < most)]
        seeds = [count for count in _SEEDS if count >= len(self.request.seeds)] or [len(self.request.seeds)]
        methods = _shortened(self.request.methods, self.request.registry)
        for chosen in product(methods, several, dict.fromkeys((targets, targets[:1])), seeds, limits):
            yield Proposal(*chosen)

    def fitting(self, hours: float) -> dict[str, Proposal]:
        """Return the best choice within ``hours`` for each wish; a choice that was already found is skipped."""
        fits = [choice for choice in self.choices() if self.hours(choice) <= hours]
        found: dict[str, Proposal] = {}
        for wish, key in _WISHES.items():
            if fits and (best := max(fits, key=key)) not in found.values():
                found[wish] = best
        return found

    def _count(self, name: str, choice: Proposal) -> int:
        return self.sizes[name] if choice.limit is None else min(choice.limit, self.sizes[name])


Fitting = Callable[[Sequence[str], int], Fit]  # methods and rank -> the options with which they fit a GPU


def proposals(budget: Budget, hours: float, others: Sequence[str], fitting: Fitting) -> Iterator[str]:
    """Yield the choices that fit into ``hours`` as lines, each with its interval widths and its command.

    ``others`` are the options that stay as they are. ``fitting`` returns the options with which methods fit the GPUs'
    memory, or is None if the GPUs are not known.
    """
    found = budget.fitting(hours)
    if not found:
        least = min(budget.choices(), key=budget.hours)
        yield f"Nothing fits into {hours:g} {budget.unit}. The least takes {budget.hours(least):.1f}: {_named(least)}"
        yield f"  {command(budget, least, others, _fit(least, budget, fitting))}"
        return
    yield f"These runs fit into {hours:g} {budget.unit}, estimated as above and as if nothing were cached:"
    for wish, choice in found.items():
        yield f"  {wish}: {_named(choice)}; {budget.hours(choice):.1f} {budget.unit}"
        sources = budget.request.sources
        widths = [("Source", budget.half_width(sources, choice))] if sources else []
        widths += [(name, budget.half_width((name,), choice)) for name in choice.targets]
        yield f"    {command(budget, choice, others, fit := _fit(choice, budget, fitting))}"
        if fit.unfit:
            yield f"    {', '.join(fit.unfit)} will not fit into the memory of a GPU"
        yield f"    95 % intervals of at most {', '.join(f'{name} +-{width:.1f}' for name, width in widths)} points"
    yield "  Bounds: 98 / sqrt(n) points for a share of n examples; CIDEr has no bound, and it depends on --limit."
    yield "  Training noise is visible from 2 seeds on, and part of the intervals from 5 on."


def _fit(choice: Proposal, budget: Budget, fitting: Fitting) -> Fit:
    trained = _trained(choice.methods, budget.request.registry)
    return fitting(tuple({*choice.methods, *trained}), max(choice.ranks))


def command(budget: Budget, choice: Proposal, others: Sequence[str], fit: Fit) -> str:
    """Return the command line of a choice: the options in ``others``, its own, and those that make it fit."""
    words = words_for(choice.methods, budget.request.registry)
    parts = ["--methods", words, "--ranks", ",".join(map(str, choice.ranks))]
    if choice.targets != budget.request.suite.targets:
        parts += ["--targets", ",".join(choice.targets)]
    first = budget.request.seeds
    seeds = [*first, *(seed for seed in range(max(first) + 1 + choice.seeds) if seed not in first)][: choice.seeds]
    if seeds != [0]:
        parts += ["--seeds", ",".join(map(str, seeds))]
    if choice.limit is not None:
        parts += ["--limit", str(choice.limit)]
    return shlex.join(["bench", "run", *others, *parts, *fit.options])


def _named(choice: Proposal) -> str:
    counts = {"method": len(choice.methods), "rank": len(choice.ranks), "target": len(choice.targets)}
    counts["seed"] = choice.seeds
    text = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items())
    return f"{text}, {'all' if choice.limit is None else f'the first {choice.limit}'} examples of each task"


def _trained(methods: Sequence[str], registry: Registry) -> set[str]:
    """Return the methods that must be trained; for an edit, this is its parent."""
    found = set()
    for name in methods:
        method = registry.method(name)
        found.add(method.parent if issubclass(method, EditMethod) else name)
    return found


def _shortened(methods: tuple[str, ...], registry: Registry) -> list[tuple[str, ...]]:
    """Return all methods, then ever fewer; the baseline is dropped last, and edits just before it."""
    edits = [name for name in methods if issubclass(registry.method(name), EditMethod)]
    order = sorted(methods, key=lambda name: (name != BASELINE, name not in edits, methods.index(name)))
    kept = [set(order[:count]) for count in range(len(order), 0, -1)]
    return [tuple(name for name in methods if name in chosen) for chosen in kept]
