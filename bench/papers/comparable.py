"""List the reasons why a run cannot be compared with a paper's tables, one line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.errors import DataError
from bench.model import checkpoints
from bench.plan.chains import tasks_in
from bench.plan.suite import SUITES
from bench.plugins.hyperparameters import values
from bench.plugins.paper import Paper, PublishedRow, SequencePaper, compared_rows

if TYPE_CHECKING:
    from bench.plan.request import Request

_BUFFERS = 10_000  # numbers that some checkpoints have and others omit, such as position ids
# Connectors are rows of the paper. A micro-batch only saves memory: the loss is that of the whole update.
FREE = ("connector", "micro_batch_size")


def reasons(paper: Paper | SequencePaper, request: Request, left_out: Collection[str] = ()) -> tuple[str, ...]:
    """Return why a request's numbers cannot be compared with the paper's; empty if they can be.

    ``left_out`` has the sources that Source leaves out, because the base model is at chance. Of a sequence, only Source
    depends on the sources, so they are no reason here.
    """
    if request.suite.name != paper.suite:
        return (
            f"the suite is {request.suite.name}, but the paper's numbers are for {paper.suite}, which has another base "
            "model and other tasks",
        )
    return (
        *_model(request),
        *(sources_differ(paper, request, left_out) if isinstance(paper, Paper) else ()),
        *_examples(request),
        *_recipe(request),
        *_hyperparameters(paper, request),
        *_sizes(paper, request),
    )


def _model(request: Request) -> Iterator[str]:
    """Yield a reason if the base model has another size.

    Only the zero-shot row shows whether a copy has the paper's weights.
    """
    own, found = SUITES[request.suite.name], request.suite
    if found.model == own.model:
        return
    count, wanted = checkpoints.parameters(found.folder), own.parameters or 0
    if abs(count - wanted) > _BUFFERS:
        yield f"the base model {found.model} (--model) has {count:,} parameters, but {own.model} has {wanted:,}"


def sources_differ(paper: Paper | SequencePaper, request: Request, left_out: Collection[str]) -> Iterator[str]:
    """Yield why a request's Source is another mean than the paper's."""
    missing = [name for name in paper.sources if name not in request.sources]
    extra = [name for name in request.sources if name not in paper.sources]
    if missing:
        yield f"Source is another mean, because it lacks the paper's source tasks {', '.join(missing)}"
    if left_out:
        yield (
            f"Source is another mean, because it leaves out {', '.join(sorted(left_out))}, where the base model is at "
            "chance. Repeat the run with --every-source; nothing is trained again"
        )
    if extra:
        yield f"Source is another mean, because the paper does not have the source tasks {', '.join(extra)}"


def _examples(request: Request) -> Iterator[str]:
    if request.split != "test":
        yield f"the scores are on the {request.split} split, but the paper's are on the test split"
    if request.limit is not None:
        yield (
            f"--limit {request.limit} scores only a part of the test split, but the paper scores all of it. Drop "
            "--limit; nothing is trained again"
        )


def _sizes(paper: Paper | SequencePaper, request: Request) -> Iterator[str]:
    """Yield a reason for each split whose size is not the paper's.

    Task options (``samples``, ``expect=any``) or other files can change the size. Missing data gives no reason,
    because the leaderboard cannot be made without it either.
    """
    for name in (*request.targets, *(name for name in request.sources if name in paper.sources)):
        task = request.tasks.load(name)
        for split in ("train", request.split) if name in request.targets else (request.split,):
            with suppress(DataError):
                count = len(task.examples(split))
                wanted = task.sizes.get(split, count)
                if abs(count - wanted) > request.tasks.reading.skip_bad:
                    yield f"{name} has {count:,} examples in its {split} split, but the paper's has {wanted:,}"


def _recipe(request: Request) -> Iterator[str]:
    for field in dataclasses.fields(request.recipe):
        value, own = getattr(request.recipe, field.name), getattr(request.suite.recipe, field.name)
        if field.name not in FREE and value != own:
            option = "--base" if field.name == "quantization" else "--set"
            yield f"recipe.{field.name} is {value} ({option}), but the suite's own value is {own}"


def _parts(row: PublishedRow) -> list[str]:
    """Return the methods of a row: one, or the two of a chain."""
    return row.method.split("+")


def _hyperparameters(paper: Paper | SequencePaper, request: Request) -> Iterator[str]:
    """Yield a reason for each changed hyperparameter of a compared method or of its parent.

    A method is compared if the paper has a row for it among the requested ones.
    """
    methods = dict.fromkeys(
        name
        for row in compared_rows(paper)
        if row.rank in request.ranks
        and set(_parts(row)) <= set(request.methods)
        and set(tasks_in(row.target)) <= set(request.targets)
        and row.connector == request.recipe.connector
        for name in _parts(row)
    )
    parents = {name: getattr(request.registry.method(name), "parent", name) for name in methods}
    for name in dict.fromkeys(used for pair in parents.items() for used in pair):
        settings = request.settings.get(name, {})
        own = values(request.registry.method(name)()) if settings else {}
        for field, value in settings.items():
            if value != own[field]:
                yield f"{name}.{field} is {value} (--set), but the method's own value is {own[field]}"
