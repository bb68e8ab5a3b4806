"""Read the scores of a plan from the store, and build its leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from bench.environment import known_facts
from bench.leaderboard.build import build
from bench.leaderboard.cell_scores import NOT_RUN, CellScores
from bench.leaderboard.environments import Facts, facts
from bench.leaderboard.heading import Heading
from bench.leaderboard.outline import Outline
from bench.leaderboard.stats import FloatArray
from bench.leaderboard.tables import Leaderboard
from bench.plan.chance import above_chance
from bench.plan.plan import Cell, Plan
from bench.plan.request import Request
from bench.plugins.registry import BASELINE
from bench.store.run_folder import Store
from bench.text import shareable_reason
from bench.values.record import Record
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

LENIENT = "lenient"
Read = Callable[[Trial], Record | None]


def leaderboard(plan: Plan, store: Store, heading: Heading) -> Leaderboard:
    """Return the leaderboard of a plan from the records in the store, with holes and failures."""
    return filled(outlined(plan, heading), store)


def outlined(plan: Plan, heading: Heading) -> Outline:
    """Return the outline of a plan's leaderboard."""
    return Outline.of(plan, replace(heading, parts=tuple(parts(plan.request, plan.asked[None]))))


def filled(outline: Outline, store: Store) -> Leaderboard:
    """Return the leaderboard of an outline from the records in the store, with holes and failures."""
    records = store.read_all(outline.trials)
    zero_shot, *cells = (
        scored(cell, store, outline.asked[cell.trial.target], lambda trial: records.get(trial.id))
        for cell in (outline.zero_shot, *outline.cells)
    )
    gates = _gates(cells, zero_shot, outline.sources) if outline.gates else ()
    known = None if outline.every_source else records.get(outline.zero_shot.trial.id)
    counting = above_chance(outline.sources, known, outline.asked[None], outline.level)
    return build(
        [*cells, *gates],
        zero_shot,
        sources=outline.sources,
        targets=outline.targets,
        heading=replace(outline.heading, at_chance=counting.lines(), environment=trained_with(records.values())),
        counted=counting.names,
    )


def trained_with(records: Iterable[Record]) -> dict[str, list[str]]:
    """Return every value of each fact about what trials were trained or edited with."""
    return known_facts(record.environment for record in records if record.trial.rank is not None)


def parts(request: Request, asked: Sequence[ScoreSpec]) -> Iterator[str]:
    """Yield how much of a task is scored, for each task that is scored only in part.

    A task is scored in part because of --limit, or because its files hold fewer examples than the whole split has.
    """
    for item in asked:
        task = request.tasks.load(item.task)
        whole = task.sizes.get(request.split) or len(task.examples(request.split))
        if item.count < whole:
            yield f"{item.task} {item.count:,} of {whole:,}"


def _gates(cells: Sequence[CellScores], zero_shot: CellScores, names: Sequence[str]) -> Iterator[CellScores]:
    """Yield the oracle gate for each cell of plain LoRA: its target score and the zero-shot scores of the sources.

    A gate is computed and not run. A cell without a target score has no gate.
    """
    sources = {task: zero_shot.primary[task] for task in names if task in zero_shot.primary}
    lenient = {task: scores for task, scores in zero_shot.lenient.items() if task in sources}
    note = "computed from the target score with the change and the source scores without it"
    for cell in cells:
        if cell.key.name == BASELINE and cell.target is not None and cell.target in cell.primary:
            where = {place: known for place, known in cell.environments.items() if place[0] not in sources}
            where |= {place: known for place, known in zero_shot.environments.items() if place[0] in sources}
            key = replace(cell.key, variant="oracle gate", control=True, ranked=False, note=note)
            primary = {**sources, cell.target: cell.primary[cell.target]}
            yield replace(cell, key=key, primary=primary, lenient=lenient, environments=where)


def scored(cell: Cell, store: Store, scores: tuple[ScoreSpec, ...], read: Read | None = None) -> CellScores:
    """Return what the store has of a cell's trial: the given scores, or why there are none.

    ``read`` returns the records of the trial and its parents, if they have been read already.
    """
    trial, read = cell.trial, read or store.read
    record = read(trial) or Record(trial, "failed", error=NOT_RUN)
    primary, lenient, answers = scores_by_task(record, store, scores)
    failed = record.failed(scores)
    return CellScores(
        key=cell.key,
        target=trial.target,
        seed=trial.seed,
        status="missing" if record.error == NOT_RUN else "failed" if failed else "done",
        error=shareable_reason(record.error or "") if failed else None,
        primary=primary,
        lenient=lenient,
        answers=answers,
        cost=record.cost,
        environments=environments_of(trial, read, scores),
    )


def scores_by_task(
    record: Record, store: Store, items: Sequence[ScoreSpec]
) -> tuple[dict[str, FloatArray], dict[str, FloatArray], dict[str, str]]:
    """Return a record's primary and lenient scores, one number per example, and a digest of its answers, by task."""
    primary: dict[str, FloatArray] = {}
    lenient: dict[str, FloatArray] = {}
    answers: dict[str, str] = {}
    scores = [score for item in items if (score := record.scores.get(item.key)) is not None]
    for score, numbers in zip(scores, store.scores_of(record.trial).numbers(scores).values(), strict=True):
        for found, metric in ((primary, score.primary), (lenient, LENIENT)):
            if metric in score.metrics:
                found[score.asked.task] = np.array(numbers.by_metric[metric])
        answers[score.asked.task] = numbers.answers
    return primary, lenient, answers


def environments_of(trial: Trial, read: Read, scores: Sequence[ScoreSpec]) -> Facts:
    """Return the known environments of the trainings of a trial and its parents, and of the scores.

    The untouched base model is not trained, so only its scores count.
    """
    own = read(trial)
    known = [own, *(read(parent) for parent in trial.ancestors())] if trial.target else []
    made = own.scores if own is not None else {}
    scored = {item.task: made[item.key].environment for item in scores if item.key in made}
    return facts([each.environment for each in known if each is not None], scored)
