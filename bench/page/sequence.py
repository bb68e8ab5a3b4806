"""Gather what the page of a sequence shows: the tables of each order, the scores after each stage, and the lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.leaderboard.stats import Estimate
from bench.page.browser import OF_SEQUENCES, with_browser
from bench.page.build import Repeat, closing, figure_section, origin, page_of, written
from bench.page.changed_stages import changed_stages
from bench.page.page import Page, Section
from bench.page.ranking import Column, TableCell, TableLine, number, scale
from bench.page.rows import PageRows
from bench.plan.chains import ChainRequest
from bench.plan.plan import Plan
from bench.sequences.board import SequenceBlock, SequenceBoard, SequenceRow, StageScores
from bench.sequences.notes import cost_texts
from bench.sequences.plot import figure_titles
from bench.store.run_folder import Store

_LINES = "A panel for each order, a line for each row; bars are 95 % intervals."
_SAYS: Mapping[str, str] = {
    "ap": "mean of all tasks after the last stage",
    "apn": "AP of scores divided by those of the task learnt alone",
    "map": "mean of AP over the stages",
    "bwt": "change of a task since its own stage",
    "forgetting": "how far a task fell from its best",
    "fwt": "what a task gains before it is learnt",
    "transfer": "score of a task before it is learnt",
    "learning": "score of a task at its own stage",
    "intransigence": "how far Learning is below the task learnt alone",
    "source": "mean of the sources after the last stage",
    "source_lost": "zero-shot Source minus Source",
    "mif": "share of replies that have the form their task asks for",
}
_GAPS: Mapping[str, str] = {"ap": "ap_gap", "source": "source_gap"}


@dataclass(frozen=True, slots=True)
class BlockTable:
    """The rows of one order and rank, their scores after each stage, and the sentences below."""

    title: str
    columns: tuple[Column, ...]
    lines: tuple[TableLine, ...]
    tasks: tuple[str, ...]
    stages: tuple[TableLine, ...]
    sentences: tuple[str, ...]


def sequence_page(
    board: SequenceBoard, chains: ChainRequest, made: Plan, store: Store, figures: Sequence[Path], repeat: Repeat
) -> Page:
    """Return the page of a sequence; of the ``figures`` that it has written, SVG files are shown."""
    rows = PageRows.of(row.key for row in board.rows)
    tasks = changed_stages(chains, store, rows)
    blocks = [_block(board, block, rows) for block in board.blocks]
    named = (("", job.trial.label, job.trial) for job in made.jobs)
    sections = [
        Section("leaderboard", "Leaderboard of each order", "orders.html", {"blocks": blocks, "board": board}),
        *figure_section("lines", "AP after each stage", written(figures, rows, figure_titles(board), _LINES)),
        Section("stages", "Scores after each stage", "stages.html", {"blocks": blocks}),
        *closing(board, board.best, origin(made, store, named, repeat)),
    ]
    page = page_of(board, f"{board.heading.suite}: a sequence of {', '.join(board.tasks)}", sections, rows)
    return with_browser(page, "stages", made.request, tasks, rows, OF_SEQUENCES)


def _block(board: SequenceBoard, block: SequenceBlock, rows: PageRows) -> BlockTable:
    columns = tuple(_columns(board))
    scales = {column.name: scale(_estimate(row, column.name) for row in block.rows) for column in columns}
    lines = tuple(
        TableLine(
            rows.id(row.key),
            row.title,
            "",
            row.key.control,
            tuple(_cell(row, column.name, scales[column.name]) for column in columns) if row.metrics else (),
            row.trouble,
        )
        for row in block.rows
    )
    connector = f", connector {block.connector}" if len(board.connectors) > 1 else ""
    return BlockTable(
        f"rank {block.rank}{connector}, order {', '.join(block.order)}",
        columns,
        lines,
        block.order,
        tuple(_stages(block, rows)),
        (block.limits, *block.remarks),
    )


def _columns(board: SequenceBoard) -> Iterator[Column]:
    for name, title in board.columns.items():
        group = "means" if name in ("ap", "bwt", "source", "source_lost") else "details"
        yield Column(name, title, group, _SAYS[name])
        if name in _GAPS:
            yield Column(
                _GAPS[name], f"{title} - {board.baseline}", "means", f"paired difference from {board.baseline}"
            )
    yield Column("kept", "kept MB", "costs", "bytes that must be stored after the last stage")
    yield Column("seconds", "s / stage", "costs", "seconds of training for each stage")


def _estimate(row: SequenceRow, column: str) -> Estimate | None:
    gap = next((name for name, title in _GAPS.items() if title == column), None)
    return row.difference.get(gap) if gap else row.metrics.get(column)


def _cell(row: SequenceRow, column: str, bounds: tuple[float, float]) -> TableCell:
    if column in ("kept", "seconds"):
        text = cost_texts(row.cost)[("kept", "seconds").index(column)]
        known = row.cost.kept_bytes if row.cost and column == "kept" else row.cost.seconds if row.cost else None
        return TableCell(text, known)
    estimate = _estimate(row, column)
    if estimate is None:
        return TableCell("-")
    if column in _GAPS.values():
        found = row.verdict("difference", estimate)
        tone = "" if found else "up" if estimate.value > 0 else "down"
        return number(estimate, bounds, found, tone=tone, signed=True)
    return number(estimate, bounds if column in ("ap", "bwt", "source") else None, row.mark(column))


def _stages(block: SequenceBlock, rows: PageRows) -> Iterator[TableLine]:
    """Yield a line for each row and stage: every task's score, AP so far and Source."""
    for row in block.rows:
        for stage in row.stages:
            name = f"{row.title} · before" if not stage.number else f"{row.title} · {stage.number} {stage.task}"
            cells = [_score(stage.scores.get(task), _learnt(block, stage, task)) for task in block.order]
            cells += [_score(stage.average, ""), _score(stage.source, "")]
            yield TableLine(rows.id(row.key), name, "", row.key.control, tuple(cells))


def _learnt(block: SequenceBlock, stage: StageScores, task: str) -> str:
    """Return the tone of a task's score: whether the task is learnt at this stage, or was before."""
    place = block.order.index(task) + 1
    return "now" if place == stage.number else "seen" if place < stage.number else "later"


def _score(estimate: Estimate | None, tone: str) -> TableCell:
    return TableCell("-", tone=tone) if estimate is None else number(estimate, tone=tone)
