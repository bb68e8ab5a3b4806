"""Why a leaderboard cannot stand beside a paper's tables: one line for everything that differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.errors import DataError
from bench.model import checkpoints
from bench.plan.suite import SUITES
from bench.plugins.hyperparameters import values
from bench.plugins.method import Method
from bench.plugins.paper import Paper, compared_rows
from bench.plugins.registry import Registry
from bench.spec import Scalar

if TYPE_CHECKING:
    from bench.plan.request import Request
    from bench.plan.tuned import Place

# Connectors are rows of the paper. A micro-batch is what memory allows: the loss is that of the whole update.
_BUFFERS = 10_000  # numbers that one way of saving keeps and another leaves out, such as position ids
_FREE = ("connector", "micro_batch_size")


def reasons(paper: Paper, request: Request) -> tuple[str, ...]:
    """Return what makes a request's numbers others than the paper's would be; nothing where they can be compared."""
    if request.suite.name != paper.suite:
        return (
            f"its suite is {request.suite.name}, the paper's numbers are those of {paper.suite}: with another base "
            f"model and other tasks, its numbers say nothing about the paper's",
        )
    return (
        *_model(request),
        *_sources(paper, request),
        *_examples(request),
        *_recipe(request),
        *_hyperparameters(paper, request),
        *_sizes(paper, request),
    )


def _model(request: Request) -> Iterator[str]:
    """Name a base model of another size. Whether a copy's weights are the paper's, its zero-shot row shows."""
    own, found = SUITES[request.suite.name], request.suite
    if found.model == own.model:
        return
    count, wanted = checkpoints.parameters(found.folder), own.parameters or 0
    if abs(count - wanted) > _BUFFERS:
        yield f"its base model {found.model} (--model) has {count:,} parameters, {own.model} has {wanted:,}"


def _sources(paper: Paper, request: Request) -> Iterator[str]:
    missing = [name for name in paper.sources if name not in request.sources]
    extra = [name for name in request.sources if name not in paper.sources]
    if missing:
        yield f"source tasks are missing, so that Source is another mean: {', '.join(missing)}"
    if extra:
        yield f"source tasks are not the paper's, so that Source is another mean: {', '.join(extra)}"


def _examples(request: Request) -> Iterator[str]:
    if request.split != "test":
        yield f"its scores are of the {request.split} split, the paper's of the test split"
    if request.limit is not None:
        yield (
            f"--limit {request.limit} scores a part of the test split, the paper all of it; "
            "without --limit, nothing is trained again"
        )


def _sizes(paper: Paper, request: Request) -> Iterator[str]:
    """Name the splits that task options (``samples``, ``expect=any``) or other files made smaller or larger.

    Data that is not here says nothing; the leaderboard cannot be made without it either.
    """
    for name in (*request.targets, *(name for name in request.sources if name in paper.sources)):
        task = request.tasks.load(name)
        for split in ("train", request.split) if name in request.targets else (request.split,):
            with suppress(DataError):
                count = len(task.examples(split))
                wanted = task.sizes.get(split, count)
                if abs(count - wanted) > request.tasks.reading.skip_bad:
                    yield f"{name} has {count:,} examples in its {split} split, the paper's has {wanted:,}"


def _recipe(request: Request) -> Iterator[str]:
    for field in dataclasses.fields(request.recipe):
        value, own = getattr(request.recipe, field.name), getattr(request.suite.recipe, field.name)
        if field.name not in _FREE and value != own:
            option = "--base" if field.name == "quantization" else "--set"
            yield f"recipe.{field.name} is {value} ({option}), the suite's own is {own}"


def _hyperparameters(paper: Paper, request: Request) -> Iterator[str]:
    """Name what was changed of a method that has a published row among those asked for, or of its parent."""
    places = _places(paper, request)
    methods = dict.fromkeys(method for method, _, _ in places)
    for name in dict.fromkeys(used for method in methods for used in (method, _parent(method, request.registry))):
        for field, value, own in _changed(request.registry.method(name), request.settings.get(name, {})):
            yield f"{name}.{field} is {value} (--set), the method's own is {own}"


def _places(paper: Paper, request: Request) -> list[Place]:
    """Return the cells asked for that the paper has numbers of."""
    return [
        (row.method, row.rank, row.target)
        for row in compared_rows(paper)
        if row.rank in request.ranks
        and row.rank is not None
        and row.method in request.methods
        and row.target in request.targets
        and row.connector == request.recipe.connector
    ]


def _parent(method: str, registry: Registry) -> str:
    parent: str = getattr(registry.method(method), "parent", method)
    return parent


def _changed(method: type[Method], settings: Mapping[str, Scalar]) -> Iterator[tuple[str, Scalar, Scalar]]:
    """Yield field, value and default of the settings that are not the defaults."""
    own = values(method()) if settings else {}
    for field, value in settings.items():
        if value != own[field]:
            yield field, value, own[field]
