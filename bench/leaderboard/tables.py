"""The leaderboard that bench.leaderboard.build makes: a table per target, with intervals, ties and holes.

Every number a report shows is in the Leaderboard. Scores are fractions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from bench.leaderboard import notes
from bench.leaderboard.environments import Facts
from bench.leaderboard.stats import SEEDS_TO_RESAMPLE, Estimate, FloatArray, bounded
from bench.plan.row_key import RowKey
from bench.spec import Cost

Status = Literal["done", "failed", "missing"]
Mark = Literal["best", "tied", "foreign", ""]
Quantity = Literal["difference", "gain", "forgetting"]

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class CellScores:
    """What one trial of a cell scored, one number per example and task, or why it did not.

    ``primary`` and ``lenient`` are [n] by task; ``target`` is None for the untouched base model. A trial that is
    ``done`` may lack a task's scores: that is a hole, and shown as one. ``environments`` is what matters of where it
    was trained and scored (bench.leaderboard.environments).
    """

    key: RowKey
    target: str | None
    seed: int
    status: Status = "done"
    error: str | None = None
    primary: Mapping[str, FloatArray] = field(default_factory=dict)
    lenient: Mapping[str, FloatArray] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    environments: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heading:
    """Where a leaderboard comes from, as printed above it; ``mixed`` compares rows of different environments.

    ``parts`` says of each task that was not scored whole how much of it was: "gqa 50 of 12,578".
    """

    suite: str
    command: str | None = None
    commit: str | None = None
    environment: str | None = None
    mixed: bool = False
    parts: tuple[str, ...] = ()


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
    the same rank (tuned rows: to the tuned baseline), and ``gain`` to the method's own row without a variant, both
    paired by example and seed. ``best`` and ``tied`` name the columns in which this is the highest number of its
    rank, and those in which it cannot be told from the highest. ``unbeaten`` names the controls whose Avg this one's
    is not shown to exceed. ``foreign`` says what was done in another environment: by "rank" (than the others of its
    block), "difference", "gain" and "forgetting". Those are then not judged, unless they are ``mixed`` on purpose.
    """

    key: RowKey
    seeds: tuple[int, ...]
    scores: Mapping[str, Estimate]
    lenient: Mapping[str, Estimate]
    forgetting: Mapping[str, Estimate]
    difference: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]
    best: frozenset[str]
    tied: frozenset[str]
    costs: Mapping[int, Cost]
    problems: tuple[Problem, ...]
    unbeaten: tuple[str, ...]
    notes: tuple[str, ...]
    foreign: Mapping[str, str] = field(default_factory=dict)
    mixed: bool = False

    @property
    def method(self) -> str:
        """The method."""
        return self.key.method

    @property
    def variant(self) -> str:
        """What sets the row apart from the method's own, or nothing."""
        return self.key.variant

    @property
    def rank(self) -> int | None:
        """The rank; None is the untouched base model."""
        return self.key.rank

    @property
    def connector(self) -> str:
        """What the connector does."""
        return self.key.connector

    @property
    def ranked(self) -> bool:
        """Whether the row can be the highest."""
        return self.key.ranked

    @property
    def control(self) -> bool:
        """Whether the row is a trivial baseline."""
        return self.key.control

    @property
    def tries(self) -> int:
        """How many configurations were tried to choose the row."""
        return self.key.tries

    @property
    def name(self) -> str:
        """The method, and what sets the row apart from the method's own."""
        return self.key.name

    @property
    def label(self) -> str:
        """The row's name in running text."""
        return self.key.label

    @property
    def block(self) -> tuple[int, str]:
        """What the row is compared within: its rank (0 for none) and its connector."""
        return self.key.block

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
        """What is lacking, on one line."""
        return notes.trouble(self)

    @property
    def cost_texts(self) -> tuple[str, str, str]:
        """Training seconds, peak memory in GB and trainable parameters, as tables show them."""
        return notes.cost_texts(self.cost)

    @property
    def sign(self) -> str:
        """What follows the row's name if its environment is another than that of its rank."""
        return notes.sign(self)

    def mark(self, column: str) -> Mark:
        """Return how the row stands in a column."""
        if column in self.best:
            return "best"
        return "tied" if column in self.tied else ""

    def refuses(self, quantity: str) -> bool:
        """Whether the row's differences of a kind are between environments, and so not judged."""
        return quantity in self.foreign and not self.mixed

    def verdict(self, quantity: Quantity, estimate: Estimate) -> Mark:
        """Return what a difference of the row comes to: not to be judged, a tie, or neither."""
        if self.refuses(quantity):
            return "foreign"
        return "tied" if estimate.covers_zero and quantity != "forgetting" else ""


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

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be said of the rows below their table."""
        return tuple(notes.remarks(self))


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
    def tuned(self) -> bool:
        """Whether some rows were chosen among several configurations: then the budget is a column."""
        return any(row.tries > 1 for table in self.tables for row in table.rows)

    @property
    def controlled(self) -> bool:
        """Whether there are controls, and so a column for what they say of the methods."""
        return any(row.control for table in self.tables for row in table.rows)

    @property
    def setting(self) -> str:
        """Suite, connector policy and seeds, as one line; and whether environments are mixed."""
        return notes.setting(self)

    @property
    def foreign(self) -> bool:
        """Whether some of what is compared was done in different environments."""
        return any(row.foreign for table in self.tables for row in table.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be written under the tables, next to the legend of a format's own marks."""
        return tuple(notes.legend(self))

    def resolution(self, table: Table) -> str:
        """Return the sentence that says what a table can tell apart."""
        return notes.resolution(self.baseline, table.resolution)

    @property
    def spread_shown(self) -> bool:
        """Whether every seed is printed: there are several, but too few to put into the intervals."""
        return 1 < len(self.seeds) < SEEDS_TO_RESAMPLE

    def frame(self, target: str) -> pd.DataFrame:
        """Return a target's table as a data frame: a line per row, scores as fractions, NaN for holes."""
        table = next(table for table in self.tables if table.target == target)
        return pd.DataFrame([self._line(row) for row in table.rows]).astype(
            {"rank": "Int64", "peak_memory_bytes": "Int64", "trainable_parameters": "Int64"}
        )

    def _line(self, row: Row) -> dict[str, object]:
        line: dict[str, object] = {"method": row.method, "variant": row.variant, "rank": row.rank}
        line |= {"connector": row.connector, "tries": row.tries, "control": row.control}
        line["not_above"] = ", ".join(row.unbeaten)
        line["seeds"] = " ".join(map(str, row.seeds))
        for source in self.sources:
            line[source] = row.scores[source].value if source in row.scores else None
        for column in ("source", "target", "avg"):
            line |= bounded(column, row.scores.get(column))
        line |= bounded("forgetting", row.forgetting.get("source"))
        line |= bounded(f"avg_minus_{self.baseline}", row.difference.get("avg"))
        line |= bounded("avg_gain", row.gain.get("avg"))
        for name in ("train_seconds", "evaluate_seconds", "peak_memory_bytes", "trainable_parameters"):
            line[name] = getattr(row.cost, name) if row.cost else None
        if self.foreign:
            line["environment"] = "; ".join(dict.fromkeys(row.foreign.values()))
        return {**line, "problems": row.trouble}
