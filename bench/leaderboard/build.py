"""Build the leaderboard from the scores of trials. Nothing here reads a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.comparing import (
    Columns,
    answers_alike,
    differences,
    estimates,
    foreign,
    marks,
    mismatch,
    resolution,
)
from bench.leaderboard.grouping import RowTrials, check, entries
from bench.leaderboard.heading import Heading
from bench.leaderboard.marks import Marks
from bench.leaderboard.stats import Draws, Kept, estimate, mean, resample
from bench.leaderboard.tables import Leaderboard, Row, Table
from bench.plan.row_key import RowKey
from bench.plugins.registry import BASELINE

_TRIALS_AT_ONCE = 200  # each takes 16 KB per column, in some ten columns

_Place = tuple[str, RowKey]  # a target and a row
_ByRow = Mapping[_Place, "_Measured"]
_Rivals = tuple[tuple[str, int, str], str]  # a block, and what its rows were given
_ByColumn = Mapping[tuple[_Rivals, str], Marks[RowKey]]  # by rivals and column


def build(
    cells: Sequence[CellScores],
    zero_shot: CellScores | None,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    heading: Heading,
    counted: Sequence[str] | None = None,
) -> Leaderboard:
    """Return the leaderboard of the cells. Source is the mean of the ``counted`` sources, by default of all.

    Every method and rank of any cell gets a row in every target's table, with the seeds of all cells. A missing cell
    is shown as not run. Methods keep the order in which they first occur. Rows of different environments are marked
    and not ranked against each other, unless the heading says that they are mixed.

    Raises:
        DataError: two cells claim the same place, or a task was scored on different numbers of examples.
    """
    check([*cells, zero_shot] if zero_shot else cells)
    seeds = tuple(sorted({cell.seed for cell in cells}))
    found = [entry for target in targets for entry in entries(cells, zero_shot, seeds, sources, target)]
    counted = sources if counted is None else counted
    rows, too_high = _rows(found, tuple(sources), counted, mixed=heading.mixed)
    tables = tuple(
        _table(target, [rows[entry.target, entry.key] for entry in found if entry.target == target], too_high[target])
        for target in targets
    )
    connectors = tuple(dict.fromkeys(cell.key.connector for cell in cells))
    left_out = tuple(name for name in sources if name not in counted)
    methods = tuple(dict.fromkeys(cell.key.method for cell in cells if not cell.key.control))
    return Leaderboard(heading, tuple(sources), BASELINE, connectors, seeds, tables, methods, left_out)


@dataclass(frozen=True, slots=True)
class _Measured:
    """One row's trials and columns, and how its environment differs from that of its block."""

    entry: RowTrials
    columns: Columns
    lenient: Columns
    foreign: str

    def competes(self, *, mixed: bool) -> bool:
        """Whether the row may be the highest of its rivals."""
        return self.entry.key.ranked and (mixed or not self.foreign)


_NOBODY = _Measured(RowTrials("", RowKey("")), {}, {}, "")


def _rows(
    found: Sequence[RowTrials], sources: tuple[str, ...], counted: Sequence[str], *, mixed: bool
) -> tuple[dict[_Place, Row], dict[str, list[float]]]:
    """Return the row of each entry, and by target how much each block's highest Avg of equal rows is too high.

    Rows are compared within their block and with the untouched base model, so some blocks at once are resampled.
    """
    kept = Kept()
    reference = _measured([entry for entry in found if entry.reference][:1], sources, counted, kept)
    rows, too_high = dict[_Place, Row](), defaultdict[str, list[float]](list)
    for group in _groups(found):
        measured = _measured([entry for block in group for entry in block], sources, counted, kept)
        marked = _marks(measured, mixed=mixed)
        for ((block, _), column), found_marks in marked.items():
            if column == "avg":
                too_high[block[0]].append(found_marks.too_high)
        for block_entries in group:
            places = [(entry.target, entry.key) for entry in block_entries]
            near = {**reference, **{place: measured[place] for place in places}}
            rows |= {place: _row(measured[place], near, marked, sources, mixed=mixed) for place in places}
    return rows, too_high


def _groups(found: Sequence[RowTrials]) -> Iterator[list[list[RowTrials]]]:
    """Yield the rows by block, as many blocks at once as have few enough trials."""
    blocks = dict[tuple[str, int, str], list[RowTrials]]()
    for entry in found:
        blocks.setdefault(entry.block, []).append(entry)
    group, trials = list[list[RowTrials]](), 0
    for block in blocks.values():
        count = sum(len(entry.done) for entry in block)
        if group and trials + count > _TRIALS_AT_ONCE:
            yield group
            group, trials = [], 0
        group.append(block)
        trials += count
    if group:
        yield group


def _measured(entries: Sequence[RowTrials], sources: tuple[str, ...], counted: Sequence[str], kept: Kept) -> _ByRow:
    """Return the columns of the rows of some whole blocks."""
    primary, lenient = _resample(entries, "primary", kept), _resample(entries, "lenient", kept)
    rivals = defaultdict[_Rivals, list[RowTrials]](list)
    for entry in entries:
        if entry.key.ranked:
            rivals[entry.rivals].append(entry)
    return {
        (entry.target, entry.key): _Measured(
            entry,
            _columns(primary[i], sources, entry.target, counted),
            _columns(lenient[i], sources, None, counted),
            foreign(entry.key, entry.environments, [(other.key, other.environments) for other in rivals[entry.rivals]]),
        )
        for i, entry in enumerate(entries)
    }


def _row(one: _Measured, rows: _ByRow, marked: _ByColumn, sources: Sequence[str], *, mixed: bool) -> Row:
    """Compare a row with zero-shot, its baseline, its method's own row, the highest of its block and the controls.

    ``rows`` are those of its block, and the untouched base model.
    """
    entry, scores = one.entry, one.columns
    references = (other for other in rows.values() if other.entry.reference)
    zero_shot = _NOBODY if entry.reference else next(references, _NOBODY)
    baseline = _baseline(entry, rows)
    own = rows.get((entry.target, entry.key.sibling(entry.key.method)), _NOBODY) if entry.key.variant else _NOBODY
    controls = [other for other in rows.values() if other.entry.controls(entry)]
    here = {column: marked.get((entry.rivals, column), Marks()) for column in scores}
    apart = {
        "rank": one.foreign,
        "difference": _mismatch(one, baseline),
        "gain": _mismatch(one, own),
        "forgetting": _mismatch(one, zero_shot, sources),
    }
    return Row(
        key=entry.key,
        seeds=tuple(cell.seed for cell in entry.done),
        scores=estimates(scores),
        lenient=estimates(one.lenient),
        forgetting=estimates(_forgetting(zero_shot.columns, scores, sources)),
        difference=estimates(differences(scores, baseline.columns)),
        gain=estimates(differences(scores, own.columns)),
        best=frozenset(column for column, found in here.items() if entry.key in found.best),
        tied=frozenset(column for column, found in here.items() if entry.key in found.tied),
        same_as=baseline.entry.key.label if answers_alike(entry.key, entry.answers, baseline.entry.answers) else "",
        costs={cell.seed: cell.cost for cell in entry.done},
        problems=entry.problems,
        unbeaten=tuple(other.entry.key.variant for other in controls if not _above(one, other, mixed=mixed)),
        notes=tuple(dict.fromkeys(cell.key.note for cell in entry.done if cell.key.note)),
        foreign={quantity: text for quantity, text in apart.items() if text},
        mixed=mixed,
    )


def _marks(rows: _ByRow, *, mixed: bool) -> _ByColumn:
    """Mark the rows of each block and column, if at least two rows compete there.

    A row that was given source data competes with such rows alone.
    """
    rivals: dict[tuple[_Rivals, str], dict[RowKey, Draws]] = {}
    for one in rows.values():
        if one.competes(mixed=mixed):
            for column, draws in one.columns.items():
                rivals.setdefault((one.entry.rivals, column), {})[one.entry.key] = draws
    return marks(rivals)


def _baseline(entry: RowTrials, rows: _ByRow) -> _Measured:
    """Return the baseline that a row is compared with: that of its block, tuned if the row is tuned."""
    plain = rows.get((entry.target, entry.key.sibling(BASELINE)), _NOBODY)
    if entry.key.control:
        return plain
    if entry.key.method == BASELINE:
        return _NOBODY
    return rows.get((entry.target, entry.key.sibling(BASELINE, entry.key.variant)), plain)


def _above(one: _Measured, control: _Measured, *, mixed: bool) -> bool:
    """Whether a row's Avg is shown to exceed a control's. If either lacks an Avg, this is true."""
    gap = differences(one.columns, control.columns).get("avg")
    if gap is None:
        return True
    return estimate(gap).low > 0 and (mixed or not _mismatch(one, control))


def _mismatch(one: _Measured, other: _Measured, stages: Collection[str] | None = None) -> str:
    return mismatch(one.entry.environments, other.entry.key, other.entry.environments, stages)


def _forgetting(reference: Columns, columns: Columns, sources: Sequence[str]) -> Columns:
    """Return how much lower the sources are than in the reference, which is repeated for each seed."""
    shared = [column for column in (*sources, "source") if column in reference and column in columns]
    return differences({column: reference[column].repeated(columns[column].seeds) for column in shared}, columns)


def _resample(entries: Sequence[RowTrials], kind: Literal["primary", "lenient"], kept: Kept) -> list[dict[str, Draws]]:
    """Return every row's resampled scores by task, except tasks that one of its trials lacks."""
    draws: list[dict[str, Draws]] = [{} for _ in entries]
    scores = [{cell.seed: getattr(cell, kind) for cell in entry.done} for entry in entries]
    for task in dict.fromkeys(task for by_seed in scores for each in by_seed.values() for task in each):
        held = {
            i: {seed: each[task] for seed, each in by_seed.items()}
            for i, by_seed in enumerate(scores)
            if by_seed and all(task in each for each in by_seed.values())
        }
        for i, drawn in resample(task, held, kept).items():
            draws[i][task] = drawn
    return draws


def _columns(
    by_task: Mapping[str, Draws], sources: Sequence[str], target: str | None, counted: Sequence[str]
) -> Columns:
    """Return the columns of a row from its scores by task; without a target, only the sources."""
    columns = {task: by_task[task] for task in sources if task in by_task}
    if counted and all(task in columns for task in counted):
        columns["source"] = mean([columns[task] for task in counted])
    if target is not None and target in by_task:
        columns["target"] = by_task[target]
    if "source" in columns and "target" in columns:
        columns["avg"] = mean([columns["source"], columns["target"]])
    return columns


def _table(target: str, rows: Sequence[Row], too_high: Sequence[float]) -> Table:
    return Table(target, tuple(rows), resolution(rows, "avg"), max(too_high, default=None))
