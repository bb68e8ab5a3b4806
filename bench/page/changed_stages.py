"""Find what a sequence forgot: examples that a stage had learnt, or the base model knew, and the last stage lost."""

from __future__ import annotations

from collections.abc import Iterator

from bench.page.changed import ChangedTask, Compared, changed_task, replies
from bench.page.rows import PageRows
from bench.plan.chains import Chain, ChainRequest
from bench.plan.plan import base_trial
from bench.store.run_folder import Store
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial


def order_text(order: tuple[str, ...]) -> str:
    """Return an order as a page names it."""
    return ", ".join(order)


def changed_stages(chains: ChainRequest, store: Store, rows: PageRows) -> list[ChangedTask]:
    """Return what changed for each task between its own stage and the last one, and for each source since the start.

    Rows whose tasks are learnt apart have one model for each task, so nothing follows a stage of theirs.
    """
    request = chains.request
    tasks = (*request.targets, *request.sources)
    found = [
        changed_task(task, _compared(chains, task, store, rows), same_before=task in request.sources) for task in tasks
    ]
    return [task for task in found if task.compared]


def _compared(chains: ChainRequest, task: str, store: Store, rows: PageRows) -> Iterator[Compared]:
    """Yield the replies of the last stage of every chain to a task next to the earlier ones."""
    for chain in chains.chains():
        if chain.apart or chain.key not in rows.by_key:
            continue
        for early, item in _earlier(chains, chain, task):
            before, after = replies(store, early, item), replies(store, chain.stages[-1], item)
            if before is not None and after is not None:
                place = order_text(chain.order)
                yield Compared(after[0], rows.id(chain.key), chain.key.method, chain.seed, place, before[1], after[1])


def _earlier(chains: ChainRequest, chain: Chain, task: str) -> Iterator[tuple[Trial, ScoreSpec]]:
    """Yield the trial with which the end of a chain is compared on a task, and the spec of the score, if there is one.

    A joint training has one stage, so only its sources have something before them.
    """
    scored = {item.task: item for item in chains.scores(chain, len(chain.order))}
    if task in chain.order:
        number = chain.order.index(task)
        if number < len(chain.stages) - 1 and task in scored:
            yield chain.stages[number], scored[task]
    elif task in scored:
        yield base_trial(chains.request), scored[task]
