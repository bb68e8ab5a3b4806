"""Turn the tables of a sequence into what MLflow shows: one table, and a run for each chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.plan.chains import Chain, ChainRequest, order_name
from bench.sequences.board import SequenceBlock, SequenceBoard, SequenceRow
from bench.sequences.frames import rows_frame
from bench.track import ChainRun, Result


def result(board: SequenceBoard, chains: ChainRequest, files: Sequence[Path]) -> Result:
    """Return what a command adds to its run in MLflow."""
    found = {(chain.key, chain.order, chain.seed): chain for chain in chains.chains()}
    runs = [
        _run(block, row, found[row.key, block.order, seed])
        for block in board.blocks
        for row in block.rows
        for seed in row.seeds
        if (row.key, block.order, seed) in found  # the untouched base model has no chain
    ]
    return Result(rows_frame(board), tuple(files), tuple(runs))


def _run(block: SequenceBlock, row: SequenceRow, chain: Chain) -> ChainRun:
    order = order_name(chain.order)
    params = {"method": row.key.name, "rank": str(row.key.rank), "order": order, "seed": str(chain.seed)}
    params |= {"connector": block.connector, "given": row.key.given}
    return ChainRun(
        f"{row.key.label} {order} s{chain.seed}",
        {name: value for name, value in params.items() if value},
        tuple(_points(row, chain.seed)),
        () if chain.apart else tuple(dict.fromkeys(_ids(chain))),
    )


def _ids(chain: Chain) -> Iterator[str]:
    """Yield the ids of a chain's trials; an edit comes after the training that it edits."""
    for trial in chain.stages:
        if trial.is_edit and trial.parent is not None:
            yield trial.parent.id
        yield trial.id


def _points(row: SequenceRow, seed: int) -> Iterator[tuple[str, float, int]]:
    """Yield each number of one seed: after which stage, or after the last one."""
    for stage in row.stages:
        scores = {f"task/{task}": value for task, value in stage.scores.items()}
        scores |= {f"source/{task}": value for task, value in stage.sources.items()}
        for name, value in {**scores, "ap_k": stage.average, "source": stage.source}.items():
            if value is not None and seed in value.by_seed:
                yield name, value.by_seed[seed], stage.number
    if row.cost is not None:
        yield "cost/seconds_per_stage", row.cost.seconds, row.stages[-1].number
        if row.cost.kept_bytes is not None:
            yield "cost/kept_bytes", float(row.cost.kept_bytes), row.stages[-1].number
    for column, value in row.metrics.items():
        if seed in value.by_seed and column != "source":
            yield column, value.by_seed[seed], row.stages[-1].number
