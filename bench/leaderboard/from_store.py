"""What the store has of a plan, as the cells of a leaderboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.leaderboard.build import build
from bench.leaderboard.origins import environments
from bench.leaderboard.tables import NOT_RUN, CellScores, Heading, Leaderboard
from bench.plan.plan import Cell, Plan, Request, asked
from bench.plugins.registry import BASELINE, load_method, load_task
from bench.spec import Asked, Record
from bench.store.run_folder import Store

LENIENT = "lenient"


def leaderboard(plan: Plan, store: Store, heading: Heading) -> Leaderboard:
    """Return the leaderboard of a plan, holes and failures included, from what the store has now."""
    request = plan.request
    cells = [_scored(cell, store, asked(request, (str(cell.trial.target),))) for cell in plan.cells]
    zero_shot = _scored(Cell.of(plan.zero_shot), store, asked(request, request.targets))
    gates = [_gate(cell, zero_shot, plan) for cell in cells] if request.controls else []
    return build(
        [*cells, *(gate for gate in gates if gate is not None)],
        zero_shot,
        sources=plan.request.sources,
        targets=plan.request.targets,
        heading=replace(heading, parts=tuple(_parts(request))),
    )


def _parts(request: Request) -> Iterator[str]:
    """Yield how much of a task is scored, where that is not all of it: for a limit, or since its files hold less."""
    for item in asked(request, request.targets):
        task = load_task(item.task)
        whole = task.sizes.get(request.split) or len(task.examples(request.split))
        if item.count < whole:
            yield f"{item.task} {item.count:,} of {whole:,}"


def _gate(cell: CellScores, zero_shot: CellScores, plan: Plan) -> CellScores | None:
    """Return the oracle gate over plain LoRA: the target with its change, the sources without. Computed, not run."""
    if (cell.method, cell.variant) != (BASELINE, "") or cell.target not in cell.primary:
        return None
    sources = {task: zero_shot.primary[task] for task in plan.request.sources if task in zero_shot.primary}
    lenient = {task: scores for task, scores in zero_shot.lenient.items() if task in sources}
    target = str(cell.target)
    where = {key: known for key, known in cell.environments.items() if key[0] not in sources}
    where |= {key: known for key, known in zero_shot.environments.items() if key[0] in sources}
    return replace(
        cell,
        variant="oracle gate",
        control=True,
        ranked=False,
        primary={**sources, target: cell.primary[target]},
        lenient=lenient,
        environments=where,
        note="computed: target with the change, sources without",
    )


def _scored(cell: Cell, store: Store, scores: tuple[Asked, ...]) -> CellScores:
    trial = cell.trial
    record = store.read(trial) or Record(trial, "failed", error=NOT_RUN)
    primary, lenient = _scores(record, store, scores)
    return CellScores(
        method=cell.method,
        rank=trial.rank,
        target=trial.target,
        seed=trial.seed,
        connector=cell.connector,
        ranked=not cell.control and load_method(cell.method).ranked,
        status="missing" if record.error == NOT_RUN else "done" if record.status == "done" else "failed",
        error=record.error,
        primary=primary,
        lenient=lenient,
        cost=record.cost,
        variant=cell.variant,
        tries=cell.tries,
        control=cell.control,
        against=cell.against,
        note=cell.note,
        environments=environments(trial, store, scores),
    )


def _scores(
    record: Record, store: Store, items: tuple[Asked, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the primary and the lenient scores, one number per example, by task."""
    primary, lenient = {}, {}
    for item in items:
        score = record.scores.get(item.key)
        if score is None:
            continue
        rows = store.scores_of(record.trial).read(score)
        primary[item.task] = np.array([row["scores"][score.primary] for row in rows])
        if LENIENT in score.metrics:
            lenient[item.task] = np.array([row["scores"][LENIENT] for row in rows])
    return primary, lenient
