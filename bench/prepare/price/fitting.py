"""Choose the options with which methods fit the memory of a GPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench.plan.plan import Plan
from bench.prepare.price.blueprint import Blueprint
from bench.prepare.price.quote import Quote
from bench.prepare.price.rates import here
from bench.values.resources import Resources


@dataclass(frozen=True, slots=True)
class Fit:
    """The ``options`` with which the methods fit, and the methods that fit with no options."""

    options: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()


def fitting_options(quote: Quote, methods: Iterable[str], rank: int) -> Fit:
    """Return the options with which methods fit a GPU of the fleet at a rank; empty without a fleet.

    More blocks are checkpointed than asked for only if a method does not fit without, because that costs time.
    """
    if quote.fleet is None:
        return Fit()
    memory, unfit, trained = quote.fleet.gpu.memory_bytes, list[str](), list[str]()
    for name in methods:
        saving = quote.footprint(name, rank, plain=0)
        if not (saving.largest(memory, quote.micro_batch) if saving.trained else saving.total(0) <= memory):
            unfit.append(name)
        elif saving.trained:
            trained.append(name)
    options: list[str] = []
    if trained:
        plain = quote.plain_blocks
        if not all(quote.footprint(name, rank).largest(memory, quote.micro_batch) for name in trained):
            plain = min(most_plain(quote, name, rank, quote.micro_batch, plain) for name in trained)
        options += checkpointing_words(quote, plain)
        sizes = [quote.footprint(name, rank, plain=plain).largest(memory, quote.micro_batch) for name in trained]
        options += ["--micro-batch", str(min(sizes))] if min(sizes) < quote.share else []
    most = quote.evaluation.largest(memory, count := quote.resources.eval_batch_size)
    options += ["--eval-batch", str(most)] if 0 < most < count else []
    return Fit(tuple(options), tuple(unfit) if most else ("evaluation", *unfit))


def checkpointing_words(quote: Quote, plain: int) -> list[str]:
    """Return the words that let ``plain`` decoder blocks keep their activations; none if all of them do."""
    if plain >= quote.blueprint.blocks:
        return []
    return ["--gradient-checkpointing", *([str(plain)] if plain else [])]


def most_plain(quote: Quote, name: str, rank: int, micro_batch: int, most: int) -> int:
    """Return the largest number of plain blocks, up to ``most``, with which a micro-batch fits a GPU.

    It is 0 if the micro-batch does not even fit if all blocks are checkpointed.
    """
    assert quote.fleet is not None
    memory = quote.fleet.gpu.memory_bytes
    numbers = range(most, 0, -1)
    return next((n for n in numbers if quote.footprint(name, rank, plain=n).total(micro_batch) <= memory), 0)


def fitted(quote: Quote) -> Resources:
    """Return the quote's resources with as few checkpointed blocks as let a micro-batch of each training fit a GPU.

    Only the trainings that are left count. Without a GPU, no block is checkpointed.
    """
    trainings, blocks = quote.adapted.keys() & quote.to_learn if quote.fleet else (), quote.blueprint.blocks
    plain = min((most_plain(quote, *each, quote.micro_batch, blocks) for each in trainings), default=blocks)
    return replace(quote.resources, plain_blocks=None if plain == blocks else plain)


def fitted_here(plan: Plan, resources: Resources) -> Resources:
    """Return the resources with as few checkpointed blocks as let a plan's trainings fit this machine's GPU."""
    if (fleet := here()) is None:
        return resources
    suite = plan.request.suite
    return fitted(Quote(plan, Blueprint.of(suite.model, suite.folder), resources, fleet, None))
