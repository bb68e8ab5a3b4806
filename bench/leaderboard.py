"""Scores of trials -> the leaderboard: a table per target, with intervals, paired differences, ties, holes.

Pure: nothing here reads a file, and every number a report shows is in the Leaderboard. Scores are fractions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from bench.errors import DataError
from bench.spec import Cost
from bench.stats import (
    LEVEL,
    RESAMPLES,
    SEEDS_TO_RESAMPLE,
    Draws,
    Estimate,
    FloatArray,
    estimate,
    mean,
    resample,
    smallest_resolvable,
)

Status = Literal["done", "failed", "missing"]
Mark = Literal["best", "tied", ""]
Columns = Mapping[str, Draws]

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class CellScores:
    """What one trial of a cell scored, one number per example and task, or why it did not.

    ``primary`` and ``lenient`` are [n] by task; ``target`` is None for the untouched base model. A trial that
    is ``done`` may lack a task's scores: that is a hole, and shown as one.
    """

    method: str
    rank: int | None
    target: str | None
    seed: int
    connector: str
    ranked: bool = True
    status: Status = "done"
    error: str | None = None
    primary: Mapping[str, FloatArray] = field(default_factory=dict)
    lenient: Mapping[str, FloatArray] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True)
class Heading:
    """Where a leaderboard comes from, as printed above it."""

    suite: str
    command: str | None = None
    commit: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row lacks a seed's numbers, or some of them."""

    seed: int
    status: Status
    error: str


@dataclass(frozen=True, slots=True)
class Row:
    """A method at one rank. The mappings are by column; what could not be measured is absent.

    Columns of ``scores`` and ``difference``: every source, "source", "target", "avg". ``lenient`` and
    ``forgetting`` (zero-shot minus now) have the sources and "source". ``difference`` is to the baseline of
    the same rank, paired by example and seed. ``best`` and ``tied`` name the columns in which this is the
    highest number of its rank, and those in which it cannot be told from the highest.
    """

    method: str
    rank: int | None
    connector: str
    ranked: bool
    seeds: tuple[int, ...]
    scores: Mapping[str, Estimate]
    lenient: Mapping[str, Estimate]
    forgetting: Mapping[str, Estimate]
    difference: Mapping[str, Estimate]
    best: frozenset[str]
    tied: frozenset[str]
    costs: Mapping[int, Cost]
    problems: tuple[Problem, ...]

    @property
    def label(self) -> str:
        """The row's name in running text."""
        return self.method if self.rank is None else f"{self.method} r{self.rank}"

    @property
    def block(self) -> tuple[int, str]:
        """What the row is compared within: its rank (0 for none) and its connector."""
        return (self.rank or 0, self.connector)

    @property
    def cost(self) -> Cost | None:
        """The row's cost: seconds are means over seeds, the rest is the largest of any seed."""
        costs = list(self.costs.values())
        if not costs:
            return None
        return Cost(
            train_seconds=sum(cost.train_seconds for cost in costs) / len(costs),
            evaluate_seconds=sum(cost.evaluate_seconds for cost in costs) / len(costs),
            peak_memory_bytes=max(cost.peak_memory_bytes for cost in costs),
            trainable_parameters=max(cost.trainable_parameters for cost in costs),
            change_bytes=max(cost.change_bytes for cost in costs),
        )

    @property
    def trouble(self) -> str:
        """What is lacking, on one line: equal reasons once, with their seeds."""
        seeds: dict[str, list[int]] = {}
        for problem in self.problems:
            seeds.setdefault(f"{problem.status}: {' '.join(problem.error.split())}", []).append(problem.seed)
        return "; ".join(
            f"seed{'s' * (len(of) > 1)} {', '.join(map(str, of))} {reason}" for reason, of in seeds.items()
        )

    @property
    def cost_texts(self) -> tuple[str, str, str]:
        """Training seconds, peak memory in GB, trainable parameters as tables show them; "-" is none."""
        if self.cost is None:
            return ("-", "-", "-")
        count = self.cost.trainable_parameters
        parameters = f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"
        seconds = f"{self.cost.train_seconds:.0f}" if self.cost.train_seconds else "-"
        return (seconds, f"{self.cost.peak_memory_bytes / 1e9:.1f}", parameters if count else "-")

    def mark(self, column: str) -> Mark:
        """Return how the row stands in a column."""
        if column in self.best:
            return "best"
        return "tied" if column in self.tied else ""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one target: reference rows first, then methods by rank.

    ``resolution`` is the smallest difference of Avg to the baseline that the table can resolve.
    """

    target: str
    rows: tuple[Row, ...]
    resolution: float | None

    def blocks(self) -> Iterator[tuple[Row, ...]]:
        """Yield the rows that are compared with one another."""
        for block in dict.fromkeys(row.block for row in self.rows):
            yield tuple(row for row in self.rows if row.block == block)


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """One table per target, and what is needed to read them."""

    heading: Heading
    sources: tuple[str, ...]
    baseline: str
    connectors: tuple[str, ...]
    seeds: tuple[int, ...]
    tables: tuple[Table, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The score columns, in the order in which they are shown."""
        return (*self.sources, "source", "target", "avg")

    @property
    def setting(self) -> str:
        """Suite, connector policy and seeds, as one line."""
        seeds = f"seed{'s' * (len(self.seeds) != 1)} {', '.join(map(str, self.seeds))}"
        return f"suite {self.heading.suite}, connector {'/'.join(self.connectors)}, {seeds}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to stand under the tables, beside the legend of a format's own marks."""
        return (
            "Scores are x100. Source = mean of the sources; Avg = (Source + Target) / 2; "
            "Source lost (forgetting) = zero-shot Source minus Source.",
            f"Intervals: {LEVEL:.0%} bootstrap, {RESAMPLES:,} resamples of the test examples"
            f"{_seed_note(len(self.seeds))}",
        )

    def resolution(self, table: Table) -> str:
        """Return the sentence that says what a table can tell apart."""
        if table.resolution is None:
            return f"No differences to {self.baseline} at the same rank from which to say what can be resolved."
        return (
            f"Smallest difference of Avg to {self.baseline} that this table can resolve: about "
            f"{100 * table.resolution:.2f} points (median half-width of the paired intervals)."
        )

    @property
    def spread_shown(self) -> bool:
        """Whether every seed is printed: there are several, but too few to put into the intervals."""
        return 1 < len(self.seeds) < SEEDS_TO_RESAMPLE

    def frame(self, target: str) -> pd.DataFrame:
        """Return a target's table as a data frame: a line per row, scores as fractions, NaN for holes."""
        table = next(table for table in self.tables if table.target == target)
        frame = pd.DataFrame([self._line(row) for row in table.rows])
        return frame.astype({"rank": "Int64", "peak_memory_bytes": "Int64", "trainable_parameters": "Int64"})

    def _line(self, row: Row) -> dict[str, object]:
        line: dict[str, object] = {"method": row.method, "rank": row.rank, "connector": row.connector}
        line["seeds"] = " ".join(map(str, row.seeds))
        for source in self.sources:
            line[source] = row.scores[source].value if source in row.scores else None
        for column in ("source", "target", "avg"):
            line |= _bounded(column, row.scores.get(column))
        line |= _bounded("forgetting", row.forgetting.get("source"))
        line |= _bounded(f"avg_minus_{self.baseline}", row.difference.get("avg"))
        for name in ("train_seconds", "evaluate_seconds", "peak_memory_bytes", "trainable_parameters"):
            line[name] = getattr(row.cost, name) if row.cost else None
        return {**line, "problems": row.trouble}


def build(
    cells: Sequence[CellScores],
    zero_shot: CellScores | None,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    heading: Heading,
    baseline: str = "lora",
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


def _check(cells: Sequence[CellScores]) -> None:
    places: set[tuple[object, ...]] = set()
    counts: dict[str, int] = {}
    for cell in cells:
        place = (cell.method, cell.rank, cell.connector, cell.target, cell.seed)
        name = f"{cell.method} r{cell.rank} on {cell.target}, seed {cell.seed}" if cell.rank else cell.method
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
    trials: dict[tuple[str, int | None, str], list[CellScores]] = {}
    for cell in cells:
        trials.setdefault((cell.method, cell.rank, cell.connector), []).append(cell)
    groups = []
    for (method, rank, connector), anywhere in trials.items():
        here = [cell for cell in anywhere if cell.target == target]
        absent = CellScores(method, rank, target, seeds[0], connector, anywhere[0].ranked, "missing", NOT_RUN)
        groups.append(_group(here or [absent], target, seeds, sources))
    groups.sort(key=lambda group: group.block)
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
    baselines = {group.block: scores[i] for i, group in enumerate(groups) if group.like.method == baseline}
    highest = _highest(groups, scores)
    return [
        _row(
            group,
            scores[i],
            _columns(lenient[i], sources, None),
            {} if group.reference else zero_shot,
            {} if group.like.method == baseline else baselines.get(group.block, {}),
            highest[group.block] if group.like.ranked else {},
        )
        for i, group in enumerate(groups)
    ]


def _row(
    group: _Group,
    scores: Columns,
    lenient: Columns,
    zero_shot: Columns,
    baseline: Columns,
    highest: Columns,
) -> Row:
    best = {column for column, draws in scores.items() if column in highest and draws.value == highest[column].value}
    gaps = _estimates(_differences(scores, highest))
    return Row(
        method=group.like.method,
        rank=group.like.rank,
        connector=group.like.connector,
        ranked=group.like.ranked,
        seeds=tuple(cell.seed for cell in group.done),
        scores=_estimates(scores),
        lenient=_estimates(lenient),
        forgetting=_estimates(_differences(_repeated(zero_shot, scores), scores)),
        difference=_estimates(_differences(scores, baseline)),
        best=frozenset(best),
        tied=frozenset(column for column, gap in gaps.items() if gap.covers_zero and column not in best),
        costs={cell.seed: cell.cost for cell in group.done},
        problems=group.problems,
    )


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


def _seed_note(count: int) -> str:
    if count >= SEEDS_TO_RESAMPLE:
        return f" and of the {count} seeds; they cover test sampling and training noise."
    if count > 1:
        return (
            f". Numbers are means over {count} seeds; the intervals hold the trainings fixed and cover test "
            "sampling only. The range over the seeds shows the training noise."
        )
    return ". One seed: they cover test sampling only, not training noise, so no method is called better than another."


def _bounded(name: str, value: Estimate | None) -> dict[str, float | None]:
    return {
        name: value.value if value else None,
        f"{name}_low": value.low if value else None,
        f"{name}_high": value.high if value else None,
    }
