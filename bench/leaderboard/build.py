"""Build the leaderboard from the scores of trials. Nothing here reads a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.leaderboard.environments import against, described
from bench.leaderboard.grouping import RowTrials, check, entries
from bench.leaderboard.stats import Draws, Estimate, estimate, mean, resample, smallest_resolvable
from bench.leaderboard.tables import CellScores, Heading, Leaderboard, Row, Table
from bench.plan.row_key import RowKey
from bench.plugins.registry import BASELINE

Columns = Mapping[str, Draws]
_ByRow = Mapping[tuple[str, RowKey], "_Measured"]  # by target and row


def build(
    cells: Sequence[CellScores],
    zero_shot: CellScores | None,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    heading: Heading,
    baseline: str = BASELINE,
) -> Leaderboard:
    """Return the leaderboard of the cells.

    Every method and rank of any cell gets a row in every target's table, with the seeds of all cells. A missing cell
    is shown as not run. Methods keep the order in which they first occur. Rows of different environments are marked
    and not ranked against each other, unless the heading says that they are mixed.

    Raises:
        DataError: two cells claim the same place, or a task was scored on different numbers of examples.
    """
    check([*cells, zero_shot] if zero_shot else cells)
    seeds = tuple(sorted({cell.seed for cell in cells}))
    found = [entry for target in targets for entry in entries(cells, zero_shot, seeds, (tuple(sources), target))]
    rows = _rows(found, tuple(sources), _ComparisonRules(baseline, heading.mixed))
    tables = tuple(
        _table(target, [row for row, entry in zip(rows, found, strict=True) if entry.target == target])
        for target in targets
    )
    connectors = tuple(dict.fromkeys(cell.key.connector for cell in cells))
    return Leaderboard(heading, tuple(sources), baseline, connectors, seeds, tables)


@dataclass(frozen=True, slots=True)
class _ComparisonRules:
    """The baseline of all comparisons, and whether rows of different environments are compared."""

    baseline: str
    mixed: bool


@dataclass(frozen=True, slots=True)
class _Measured:
    """One row's trials and columns, and how its environment differs from that of its block."""

    entry: RowTrials
    columns: Columns
    foreign: str = ""


_NOBODY = _Measured(RowTrials("", RowKey("")), {})


@dataclass(frozen=True, slots=True)
class _Rivals:
    """The rows and columns that a row is compared with."""

    zero_shot: _Measured
    baseline: _Measured
    own: _Measured
    highest: Columns
    controls: Sequence[_Measured]


def _rows(entries: Sequence[RowTrials], sources: tuple[str, ...], setting: _ComparisonRules) -> list[Row]:
    """Measure each row, then compare it with zero-shot, its baseline and the highest of its block."""
    primary, lenient = _resample(entries, "primary"), _resample(entries, "lenient")
    measured = [
        _Measured(entry, _columns(primary[i], sources, entry.target), _foreign(entry, entries, setting.baseline))
        for i, entry in enumerate(entries)
    ]
    references = (_Measured(g, _columns(primary[i], sources, None)) for i, g in enumerate(entries) if g.reference)
    zero_shot = next(references, _NOBODY)
    own = {(one.entry.target, one.entry.key): one for one in measured}
    highest = _highest([one for one in measured if _competes(one, setting)])
    controls = [one for one in measured if one.entry.key.control]
    return [
        _row(
            one,
            _columns(lenient[i], sources, None),
            _Rivals(
                _NOBODY if one.entry.reference else zero_shot,
                _baseline(one.entry, own, setting.baseline),
                _of_method(one.entry, own),
                highest.get(one.entry.block, {}) if _competes(one, setting) else {},
                [other for other in controls if other.entry.controls(one.entry)],
            ),
            sources,
            mixed=setting.mixed,
        )
        for i, one in enumerate(measured)
    ]


def _competes(one: _Measured, setting: _ComparisonRules) -> bool:
    """Whether a row may be the highest of its block."""
    return one.entry.key.ranked and (setting.mixed or not one.foreign)


def _foreign(entry: RowTrials, entries: Sequence[RowTrials], baseline: str) -> str:
    """Return how a ranked row's environment differs from that of its block, or "".

    Each field is compared with the baseline, or with the first other row that has the field if the baseline lacks it.
    """
    if not entry.key.ranked:
        return ""
    block = [other for other in entries if other.block == entry.block and other.key.ranked]
    block.sort(key=lambda other: other.key.name != baseline)
    return described(against(entry.environments, [(other.key.label, other.environments) for other in block]))


def _of_method(entry: RowTrials, own: _ByRow) -> _Measured:
    """Return the method's own row for a variant, and _NOBODY for a row without a variant."""
    return own.get((entry.target, entry.key.sibling(entry.key.method)), _NOBODY) if entry.key.variant else _NOBODY


def _baseline(entry: RowTrials, own: _ByRow, baseline: str) -> _Measured:
    """Return the baseline that a row is compared with: that of its block, tuned if the row is tuned."""
    plain = own.get((entry.target, entry.key.sibling(baseline)), _NOBODY)
    if entry.key.control:
        return plain
    if entry.key.method == baseline:
        return _NOBODY
    return own.get((entry.target, entry.key.sibling(baseline, entry.key.variant)), plain)


def _row(one: _Measured, lenient: Columns, rivals: _Rivals, sources: Sequence[str], *, mixed: bool) -> Row:
    entry, scores, highest = one.entry, one.columns, rivals.highest
    best = {column for column, draws in scores.items() if column in highest and draws.value == highest[column].value}
    gaps = _estimates(_differences(scores, highest))
    return Row(
        key=entry.key,
        seeds=tuple(cell.seed for cell in entry.done),
        scores=_estimates(scores),
        lenient=_estimates(lenient),
        forgetting=_estimates(_differences(_repeated(rivals.zero_shot.columns, scores), scores)),
        difference=_estimates(_differences(scores, rivals.baseline.columns)),
        gain=_estimates(_differences(scores, rivals.own.columns)),
        best=frozenset(best),
        tied=frozenset(column for column, gap in gaps.items() if gap.covers_zero and column not in best),
        costs={cell.seed: cell.cost for cell in entry.done},
        problems=entry.problems,
        unbeaten=tuple(other.entry.key.variant for other in rivals.controls if not _above(one, other, mixed=mixed)),
        notes=tuple(dict.fromkeys(cell.key.note for cell in entry.done if cell.key.note)),
        foreign=_environments(one, rivals, sources),
        mixed=mixed,
    )


def _above(one: _Measured, control: _Measured, *, mixed: bool) -> bool:
    """Whether a row's Avg is shown to exceed a control's. If either lacks an Avg, this is true."""
    gap = _differences(one.columns, control.columns).get("avg")
    if gap is None:
        return True
    return estimate(gap).low > 0 and (mixed or not _beside(one, control))


def _environments(one: _Measured, rivals: _Rivals, sources: Sequence[str]) -> dict[str, str]:
    """Return, for each quantity, how the row's environment differs from that of its rival."""
    found = {
        "rank": one.foreign,
        "difference": _beside(one, rivals.baseline),
        "gain": _beside(one, rivals.own),
        "forgetting": _beside(one, rivals.zero_shot, sources),
    }
    return {quantity: text for quantity, text in found.items() if text}


def _beside(one: _Measured, other: _Measured, stages: Collection[str] | None = None) -> str:
    mine, theirs = one.entry.environments, other.entry.environments
    if other.entry.reference and theirs:
        theirs = dict.fromkeys(mine, next(iter(theirs.values())))
    return described(against(mine, [(other.entry.key.label, theirs)], stages))


def _estimates(columns: Columns) -> dict[str, Estimate]:
    return {column: estimate(draws) for column, draws in columns.items()}


def _differences(columns: Columns, others: Columns) -> Columns:
    """Return the paired differences for the columns and seeds that both have."""
    pairs = {column: columns[column].minus(others[column]) for column in columns if column in others}
    return {column: draws for column, draws in pairs.items() if draws.seeds}


def _repeated(reference: Columns, columns: Columns) -> Columns:
    """Repeat the reference for the seeds of the columns that it is compared with."""
    shared = [column for column in reference if column in columns]
    return {column: reference[column].repeated(columns[column].seeds) for column in shared}


def _resample(entries: Sequence[RowTrials], kind: Literal["primary", "lenient"]) -> list[dict[str, Draws]]:
    """Return every row's resampled scores by task, except tasks that one of its trials lacks."""
    draws: list[dict[str, Draws]] = [{} for _ in entries]
    scores = [{cell.seed: getattr(cell, kind) for cell in entry.done} for entry in entries]
    for task in dict.fromkeys(task for by_seed in scores for each in by_seed.values() for task in each):
        held = {
            i: {seed: each[task] for seed, each in by_seed.items()}
            for i, by_seed in enumerate(scores)
            if by_seed and all(task in each for each in by_seed.values())
        }
        for i, drawn in resample(task, held).items():
            draws[i][task] = drawn
    return draws


def _columns(by_task: Mapping[str, Draws], sources: Sequence[str], target: str | None) -> Columns:
    """Return the columns of a row from its scores by task; without a target, only the sources."""
    columns = {task: by_task[task] for task in sources if task in by_task}
    if sources and len(columns) == len(sources):
        columns["source"] = mean(list(columns.values()))
    if target is not None and target in by_task:
        columns["target"] = by_task[target]
    if "source" in columns and "target" in columns:
        columns["avg"] = mean([columns["source"], columns["target"]])
    return columns


def _highest(rows: Sequence[_Measured]) -> Mapping[tuple[str, int, str], Columns]:
    """Return the highest score by block and column, if at least two rows have a score there."""
    rivals: dict[tuple[str, int, str], dict[str, list[Draws]]] = {}
    for one in rows:
        block = rivals.setdefault(one.entry.block, {})
        for column, draws in one.columns.items():
            block.setdefault(column, []).append(draws)
    return {
        block: {
            column: max(found, key=lambda draws: draws.value) for column, found in columns.items() if len(found) > 1
        }
        for block, columns in rivals.items()
    }


def _table(target: str, rows: Sequence[Row]) -> Table:
    judged = (row for row in rows if row.ranked and (row.mixed or "difference" not in row.foreign))
    differences = [row.difference["avg"] for row in judged if "avg" in row.difference]
    return Table(target, tuple(rows), smallest_resolvable(differences))
