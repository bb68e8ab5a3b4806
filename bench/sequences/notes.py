"""Write the texts about rows and blocks of a sequence, and the notes under them, which report formats share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.leaderboard import notes as words
from bench.leaderboard.notes import FOREIGN
from bench.plan.chains import INDEPENDENT
from bench.plugins.registry import BASELINE
from bench.sizes import MB

if TYPE_CHECKING:
    from bench.sequences.board import SequenceBlock, SequenceBoard, StageCost

BEST = "the best number of its block; of Forgetting and Intransigence that is the lowest"

_AFTER_ALL = (
    "Scores are x100. a[k][j] is the score of task j after stage k of T, z[j] that of the base model, d[j] that of "
    f"{BASELINE} trained on task j alone. AP = mean of a[T][j]. APn = mean of a[T][j] / d[j], in which every task "
    "counts the same. MAP = mean over stages of the mean of the tasks learnt so far."
)
_CHANGES = (
    "BWT = mean of a[T][j] - a[j][j] over tasks before the last. Forgetting = the same from the highest score before "
    "stage T, with the other sign. FWT = mean of a[j-1][j] - z[j] over tasks after the first."
)
_MORE = (
    "Transfer = mean over tasks of the mean score before their own stage. Learning = mean of a[j][j]. Intransigence = "
    "mean of d[j] - a[j][j]."
)
_SOURCE = (
    "Source = mean of the source scores after stage T, lost = zero-shot Source minus it: what the base model itself "
    "forgets. MIF = share of replies after stage T that have the form that their task asks for, right or wrong."
)
_COST = (
    "kept = what must be stored after stage T to answer all tasks and to learn the next; s/stage = seconds of training "
    "for each stage."
)
_CONTROLS = (
    f"Rows in brackets are controls; independent = one {BASELINE} for each task, whose BWT is 0 and which needs the "
    "task of every question."
)


def cost_texts(cost: StageCost | None) -> tuple[str, str]:
    """Return megabytes kept and seconds for each stage, or "-" if unknown."""
    if cost is None:
        return ("-", "-")
    digits = 2 if (cost.kept_bytes or 0) < 10 * MB else 0
    kept = "-" if cost.kept_bytes is None else f"{cost.kept_bytes / MB:.{digits}f}"
    return (kept, f"{cost.seconds:.0f}" if cost.seconds else "-")


def setting(board: SequenceBoard) -> str:
    """Return suite, connector, seeds, updates and what the suite sets, on one line."""
    foreign = any(row.foreign for row in board.rows)
    parts = [f"suite {board.heading.suite}", f"connector {'/'.join(board.connectors)}", words.seeds(board.seeds)]
    updates = {row.cost.updates for row in board.rows if row.cost is not None}
    if len(updates) == 1:
        (each,) = updates
        parts.append(f"{each:,} updates a stage and {each * len(board.tasks):,} in all")
    mixed = ["environments mixed (--mix)"] if foreign and board.heading.mixed else []
    return ", ".join([*parts, *board.heading.settings, *mixed])


def remarks(block: SequenceBlock) -> Iterator[str]:
    """Yield the remarks under a block, one line each. Rows with the same mismatch or method share a line."""
    labels: dict[str, list[str]] = {}
    for row in block.rows:
        if row.metrics and row.problems:
            yield f"{row.key.label}: {row.trouble}"
        if row.same_as:
            yield f"{row.key.label}: answers as {row.same_as} on every example of every stage, so it measures nothing"
        for text in dict.fromkeys(row.foreign.values()):
            labels.setdefault(text, []).append(row.key.label)
    for text, of in labels.items():
        yield f"{FOREIGN} {', '.join(of)}: {text}"
    alone = any(row.key.variant == INDEPENDENT and "ap" in row.metrics for row in block.rows)
    if alone and not any("apn" in row.metrics for row in block.rows):
        yield "APn is left out, because a task that is learnt alone scores 0, or close to 0."
    yield from words.given_lines([row.key for row in block.rows])
    methods = {row.key.method: row.key.remark for row in block.rows if row.key.remark}
    yield from (f"{method}: {text}" for method, text in methods.items())


def legend(board: SequenceBoard) -> Iterator[str]:
    """Yield the notes under all blocks."""
    keys = [row.key for row in board.rows]
    yield _AFTER_ALL
    yield _CHANGES
    yield _MORE
    yield _SOURCE
    yield _COST
    if board.summary:
        yield "The interval of a mean over orders does not cover the choice of the orders. Spread = highest - lowest."
    yield from board.heading.at_chance
    yield board.covered
    if board.heading.parts:
        yield words.in_part(board.heading.parts)
    if any(key.control for key in keys):
        yield _CONTROLS
    if any(row.foreign for row in board.rows):
        yield words.MIXED if board.heading.mixed else words.FOREIGN_ROWS
    if any(key.given for key in keys):
        yield words.GIVEN_ROWS
    if older := board.heading.older:
        yield words.older_trials(older)


def resolution(block: SequenceBlock) -> str:
    """Return what a block can resolve, and how much its highest AP is too high."""
    if not any("ap" in row.difference for row in block.rows):
        return f"No row has a difference from {BASELINE}, so nothing says how small a difference the block can resolve."
    smallest = f"The smallest difference in AP from {BASELINE} that this block can resolve is"
    if block.resolution is None:
        text = f"{smallest} unknown, because no ranked row differs measurably from {BASELINE}."
    else:
        text = f"{smallest} about {100 * block.resolution:.2f} points (the median half-width of the paired intervals)."
    if not block.too_high:
        return text
    return (
        f"{text} The highest AP is up to {100 * block.too_high:.2f} points too high on average, because it is the "
        "highest of several."
    )
