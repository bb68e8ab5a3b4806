"""Scores of trials -> the leaderboard. Pure: nothing here reads a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.errors import DataError
from bench.leaderboard import NOT_RUN, CellScores, Heading, Leaderboard, Problem, Row, Table
from bench.registry import BASELINE
from bench.stats import Draws, Estimate, estimate, mean, resample, smallest_resolvable

Columns = Mapping[str, Draws]


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

    Every method and rank that occurs gets a row in every target's table, with the seeds that occur anywhere;
    what is not among ``cells`` is shown as not run. Methods keep the order in which they come.

    Raises:
        DataError: two cells claim the same place, or a task was scored on different numbers of examples.
    """
    _check([*cells, zero_shot] if zero_shot else cells)
    seeds = tuple(sorted({cell.seed for cell in cells}))
    groups = [group for target in targets for group in _groups(cells, zero_shot, seeds, (tuple(sources), target))]
    rows = _rows(groups, tuple(sources), baseline)
    tables = tuple(
        _table(target, [row for row, group in zip(rows, groups, strict=True) if group.target == target])
        for target in targets
    )
    connectors = tuple(dict.fromkeys(cell.connector for cell in cells))
    return Leaderboard(heading, tuple(sources), baseline, connectors, seeds, tables)


@dataclass(frozen=True, slots=True)
class _Group:
    """The trials of one row: ``done`` count, ``problems`` say why others do not; ``like`` is any of them."""

    target: str
    done: tuple[CellScores, ...]
    problems: tuple[Problem, ...]
    like: CellScores

    @property
    def reference(self) -> bool:
        return self.like.target is None

    @property
    def block(self) -> tuple[str, int, str]:
        return (self.target, self.like.rank or 0, self.like.connector)

    @property
    def own(self) -> tuple[object, str, str]:
        return (self.block, self.like.method, self.like.variant)

    def controls(self, other: _Group) -> bool:
        """Whether the other row should beat this one."""
        meant = self.like.against in ("", f"{other.like.method} {other.like.variant}".rstrip())
        return self.like.control and other.like.ranked and meant and self.block == other.block


def _check(cells: Sequence[CellScores]) -> None:
    places: set[tuple[object, ...]] = set()
    counts: dict[str, int] = {}
    for cell in cells:
        place = (cell.method, cell.variant, cell.rank, cell.connector, cell.target, cell.seed)
        row = f"{cell.method} {cell.variant}".rstrip()
        name = f"{row} r{cell.rank} on {cell.target}, seed {cell.seed}" if cell.rank else row
        if place in places:
            raise DataError(f"There are two trials of {name}. Choose one setting of its hyperparameters.")
        places.add(place)
        for task, scores in (*cell.primary.items(), *cell.lenient.items()):
            if not len(scores) or len(scores) != counts.setdefault(task, len(scores)):
                raise DataError(
                    f"{name}: {len(scores)} scores on {task}, others have {counts.get(task, 'more')}. "
                    "Score all of them with the same --limit."
                )


def _groups(
    cells: Sequence[CellScores],
    zero_shot: CellScores | None,
    seeds: Sequence[int],
    tasks: tuple[tuple[str, ...], str],
) -> list[_Group]:
    """Return the rows of one target: zero-shot, then what occurs for any target, by rank."""
    sources, target = tasks
    trials: dict[tuple[str, str, int | None, str], list[CellScores]] = {}
    for cell in cells:
        trials.setdefault((cell.method, cell.variant, cell.rank, cell.connector), []).append(cell)
    groups = []
    for anywhere in trials.values():
        here = [cell for cell in anywhere if cell.target == target]
        absent = replace(anywhere[0], target=target, seed=seeds[0], status="missing", error=NOT_RUN, primary={})
        groups.append(_group(here or [absent], target, seeds, sources))
    order = list(dict.fromkeys(cell.method for cell in cells))
    groups.sort(key=lambda group: (group.block, group.like.control, order.index(group.like.method)))
    return [_group([zero_shot], target, [zero_shot.seed], sources), *groups] if zero_shot else groups


def _group(cells: Sequence[CellScores], target: str, seeds: Sequence[int], sources: Sequence[str]) -> _Group:
    """Sort a row's trials by seed, and name what is lacking."""
    by_seed = {cell.seed: cell for cell in cells}
    tasks = tuple(dict.fromkeys((*sources, target)))
    problems = [problem for seed in seeds if (problem := _problem(seed, by_seed.get(seed), tasks)) is not None]
    done = [by_seed[seed] for seed in seeds if seed in by_seed and by_seed[seed].status == "done"]
    return _Group(target, tuple(done), tuple(problems), cells[0])


def _problem(seed: int, cell: CellScores | None, tasks: Sequence[str]) -> Problem | None:
    if cell is None:
        return Problem(seed, "missing", NOT_RUN)
    if cell.status != "done":
        return Problem(seed, cell.status, cell.error or "no reason given")
    lacking = [task for task in dict.fromkeys(tasks) if task not in cell.primary]
    return Problem(seed, "missing", f"no scores on {', '.join(lacking)}") if lacking else None


def _rows(groups: Sequence[_Group], sources: tuple[str, ...], baseline: str) -> list[Row]:
    """Measure every row alone, then against zero-shot, its baseline and the highest of its block."""
    primary, lenient = _resample(groups, "primary"), _resample(groups, "lenient")
    scores = [_columns(primary[i], sources, group.target) for i, group in enumerate(groups)]
    zero_shot = next((_columns(primary[i], sources, None) for i, g in enumerate(groups) if g.reference), {})
    own = {group.own: scores[i] for i, group in enumerate(groups)}
    highest = _highest(groups, scores)
    controls = [(group, scores[i]) for i, group in enumerate(groups) if group.like.control]
    return [
        _row(
            group,
            scores[i],
            _columns(lenient[i], sources, None),
            _Rivals(
                {} if group.reference else zero_shot,
                _baseline(group, own, baseline),
                own.get((group.block, group.like.method, ""), {}) if group.like.variant else {},
                highest[group.block] if group.like.ranked else {},
                {other.like.variant: columns for other, columns in controls if other.controls(group)},
            ),
        )
        for i, group in enumerate(groups)
    ]


def _baseline(group: _Group, own: Mapping[tuple[object, str, str], Columns], baseline: str) -> Columns:
    """Return what a row is held against: the baseline of its block, tuned where it is tuned itself."""
    plain = own.get((group.block, baseline, ""), {})
    if group.like.control:
        return plain
    if group.like.method == baseline:
        return {}
    return own.get((group.block, baseline, group.like.variant), plain)


@dataclass(frozen=True, slots=True)
class _Rivals:
    """What a row is held against; ``controls`` by name."""

    zero_shot: Columns
    baseline: Columns
    own: Columns
    highest: Columns
    controls: Mapping[str, Columns]


def _row(group: _Group, scores: Columns, lenient: Columns, rivals: _Rivals) -> Row:
    highest = rivals.highest
    best = {column for column, draws in scores.items() if column in highest and draws.value == highest[column].value}
    gaps = _estimates(_differences(scores, highest))
    return Row(
        method=group.like.method,
        variant=group.like.variant,
        rank=group.like.rank,
        connector=group.like.connector,
        ranked=group.like.ranked,
        seeds=tuple(cell.seed for cell in group.done),
        scores=_estimates(scores),
        lenient=_estimates(lenient),
        forgetting=_estimates(_differences(_repeated(rivals.zero_shot, scores), scores)),
        difference=_estimates(_differences(scores, rivals.baseline)),
        gain=_estimates(_differences(scores, rivals.own)),
        best=frozenset(best),
        tied=frozenset(column for column, gap in gaps.items() if gap.covers_zero and column not in best),
        costs={cell.seed: cell.cost for cell in group.done},
        problems=group.problems,
        tries=group.like.tries,
        control=group.like.control,
        unbeaten=_unbeaten(scores, rivals.controls),
        notes=tuple(dict.fromkeys(cell.note for cell in group.done if cell.note)),
    )


def _unbeaten(scores: Columns, controls: Mapping[str, Columns]) -> tuple[str, ...]:
    """Return the controls whose Avg the row's is not shown to exceed."""
    gaps = {name: _differences(scores, columns).get("avg") for name, columns in controls.items()}
    return tuple(name for name, gap in gaps.items() if gap is not None and estimate(gap).low <= 0)


def _estimates(columns: Columns) -> dict[str, Estimate]:
    return {column: estimate(draws) for column, draws in columns.items()}


def _differences(columns: Columns, others: Columns) -> Columns:
    """Return the paired differences of the columns and seeds that both have."""
    pairs = {column: columns[column].minus(others[column]) for column in columns if column in others}
    return {column: draws for column, draws in pairs.items() if draws.seeds}


def _repeated(reference: Columns, columns: Columns) -> Columns:
    """Return the reference on the seeds of the columns it is held against."""
    shared = [column for column in reference if column in columns]
    return {column: reference[column].repeated(columns[column].seeds) for column in shared}


def _resample(groups: Sequence[_Group], kind: Literal["primary", "lenient"]) -> list[dict[str, Draws]]:
    """Return the resampled scores of every row by task; a task that one of its trials lacks is a hole."""
    draws: list[dict[str, Draws]] = [{} for _ in groups]
    scores = [{cell.seed: getattr(cell, kind) for cell in group.done} for group in groups]
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
    """Return what is shown, from what was measured; without a target, the sources only."""
    columns = {task: by_task[task] for task in sources if task in by_task}
    if sources and len(columns) == len(sources):
        columns["source"] = mean(list(columns.values()))
    if target is not None and target in by_task:
        columns["target"] = by_task[target]
    if "source" in columns and "target" in columns:
        columns["avg"] = mean([columns["source"], columns["target"]])
    return columns


def _highest(groups: Sequence[_Group], scores: Sequence[Columns]) -> Mapping[tuple[str, int, str], Columns]:
    """Return the highest score of each block and column, where at least two ranked rows have one."""
    rivals: dict[tuple[str, int, str], dict[str, list[Draws]]] = {}
    for group, columns in zip(groups, scores, strict=True):
        block = rivals.setdefault(group.block, {})
        for column, draws in columns.items() if group.like.ranked else ():
            block.setdefault(column, []).append(draws)
    return {
        block: {
            column: max(found, key=lambda draws: draws.value) for column, found in columns.items() if len(found) > 1
        }
        for block, columns in rivals.items()
    }


def _table(target: str, rows: Sequence[Row]) -> Table:
    differences = [row.difference["avg"] for row in rows if row.ranked and "avg" in row.difference]
    return Table(target, tuple(rows), smallest_resolvable(differences))
