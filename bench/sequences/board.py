"""Define the tables of a sequence of tasks: one block for each order and rank, with intervals, ties and holes.

bench.sequences.build makes them, and every number of a report is in them. Scores are fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from bench.leaderboard import notes as words
from bench.leaderboard.heading import Heading
from bench.leaderboard.stats import SEEDS_ADVISED, Estimate
from bench.leaderboard.tables import Problem
from bench.plan.row_key import RowKey
from bench.sequences import frames, notes

Quantity = Literal["difference", "zero_shot"]
SEQUENCE_COLUMNS: Mapping[str, str] = {
    "ap": "AP",
    "apn": "APn",
    "map": "MAP",
    "bwt": "BWT",
    "forgetting": "Forgetting",
    "fwt": "FWT",
    "transfer": "Transfer",
    "learning": "Learning",
    "intransigence": "Intransigence",
    "source": "Source",
    "source_lost": "Source lost",
    "mif": "MIF",
}


@dataclass(frozen=True, slots=True)
class StageScores:
    """The scores of a row after a stage: ``number`` from 1, or 0 for the untouched base model.

    ``task`` is what the stage has learnt. ``scores`` has every task, and ``sources`` every source that was scored.
    ``average`` is AP_k, and ``source`` the mean of the sources that count. A score that is missing is absent.
    """

    number: int
    task: str
    scores: Mapping[str, Estimate]
    average: Estimate | None = None
    sources: Mapping[str, Estimate] = field(default_factory=dict)
    source: Estimate | None = None


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a row costs: training ``seconds`` and updates for each stage, the mean over stages and seeds.

    ``kept_bytes`` is what must be stored after the last stage to answer and to learn another task, the largest of any
    seed; None if no seed has a last stage.
    """

    seconds: float
    updates: int
    kept_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SequenceRow:
    """A method, or several in a chain, on one order at one rank.

    ``metrics`` has an estimate for each of SEQUENCE_COLUMNS that could be measured. ``difference`` has "ap" and
    "source", paired with plain LoRA of the same block. ``best`` and ``tied`` name columns, among rows that were given
    the same; of a column in which lower is better, the lowest is best. ``same_as`` is the label of plain LoRA if the
    row gave LoRA's answer to every example after every stage, or else empty.

    ``foreign`` describes each mismatch of environments by what it affects: "rank" (compared with the other rows),
    "difference", "zero_shot" (FWT and Source lost) or "stages" (the row's own stages differ). The first three are then
    not judged, unless ``mixed`` is true.
    """

    key: RowKey
    seeds: tuple[int, ...]
    metrics: Mapping[str, Estimate]
    difference: Mapping[str, Estimate]
    stages: tuple[StageScores, ...]
    cost: StageCost | None = None
    best: frozenset[str] = frozenset()
    tied: frozenset[str] = frozenset()
    same_as: str = ""
    problems: tuple[Problem, ...] = ()
    foreign: Mapping[str, str] = field(default_factory=dict)
    mixed: bool = False

    @property
    def title(self) -> str:
        """The row's name as tables show it: a control is in brackets, and marks follow."""
        name = f"({self.key.name})" if self.key.control else self.key.name
        given = f" {words.GIVEN}" if self.key.given else ""
        return name + given + (f" {words.FOREIGN}" if self.foreign.keys() & {"rank", "difference", "stages"} else "")

    @property
    def trouble(self) -> str:
        """Why the row lacks numbers, on one line."""
        return words.trouble(self.problems)

    @property
    def cost_texts(self) -> tuple[str, str]:
        """Megabytes kept and training seconds for each stage, as tables show them."""
        return notes.cost_texts(self.cost)

    def mark(self, column: str) -> Literal["best", "tied", ""]:
        """Return whether the row is best or tied in a column."""
        if column in self.best:
            return "best"
        return "tied" if column in self.tied else ""

    def verdict(self, quantity: Quantity, estimate: Estimate) -> Literal["foreign", "tied", ""]:
        """Return how a difference is marked: foreign (not judged), tied, or neither."""
        if quantity in self.foreign and not self.mixed:
            return "foreign"
        return "tied" if estimate.covers_zero and quantity == "difference" else ""


@dataclass(frozen=True, slots=True)
class SequenceBlock:
    """The rows of one order, rank and connector: the base model first, then methods, then controls.

    ``resolution`` is the smallest difference in AP from plain LoRA that the block can resolve. ``too_high`` is how much
    the highest AP of equal rows exceeds the truth on average.
    """

    order: tuple[str, ...]
    rank: int
    connector: str
    rows: tuple[SequenceRow, ...]
    resolution: float | None = None
    too_high: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """The remarks about single rows, which reports print under the block."""
        return tuple(notes.remarks(self))

    @property
    def limits(self) -> str:
        """What the block can resolve, and how much its highest AP is too high."""
        return notes.resolution(self)


@dataclass(frozen=True, slots=True)
class OverOrders:
    """A column of a row over several orders: the mean with its interval, the lowest and the highest.

    The interval covers examples and trainings, as everywhere. It does not cover the choice of the orders.
    """

    mean: Estimate
    lowest: float
    highest: float

    @property
    def spread(self) -> float:
        """The highest minus the lowest."""
        return self.highest - self.lowest


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """A row over all its orders, of which ``orders`` are measured; ``columns`` has "ap", "bwt" and "source"."""

    key: RowKey
    orders: int
    columns: Mapping[str, OverOrders]


@dataclass(frozen=True, slots=True)
class SequenceBoard:
    """The blocks of a sequence of tasks, with everything that a reader needs to understand them.

    ``summary`` has a line for each row that is measured on at least two orders. ``left_out`` are the sources at chance,
    which Source leaves out.
    """

    heading: Heading
    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    baseline: str
    seeds: tuple[int, ...]
    blocks: tuple[SequenceBlock, ...]
    summary: tuple[OrderSummary, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[SequenceRow, ...]:
        """The rows of all blocks."""
        return tuple(row for block in self.blocks for row in block.rows)

    @property
    def orders(self) -> tuple[tuple[str, ...], ...]:
        """The orders of the tasks."""
        return tuple(dict.fromkeys(block.order for block in self.blocks))

    @property
    def connectors(self) -> tuple[str, ...]:
        """The connector policies."""
        return tuple(dict.fromkeys(block.connector for block in self.blocks))

    @property
    def columns(self) -> dict[str, str]:
        """The titles of the columns that any row has, in the order in which they are shown."""
        return {
            name: title for name, title in SEQUENCE_COLUMNS.items() if any(name in row.metrics for row in self.rows)
        }

    @property
    def spread_shown(self) -> bool:
        """Whether every seed is printed, because there are several but too few for narrow intervals."""
        return 1 < len(self.seeds) < SEEDS_ADVISED

    @property
    def setting(self) -> str:
        """Suite, connector, seeds, updates, and whether environments are mixed, on one line."""
        return notes.setting(self)

    @property
    def covered(self) -> str:
        """What the intervals cover."""
        return words.covered(len(self.seeds))

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes under the blocks. Each report adds the legend of its own marks."""
        return tuple(notes.legend(self))

    def frame(self) -> pd.DataFrame:
        """Return one line per row of a block, with scores as fractions and NaN for holes."""
        return frames.rows_frame(self)

    def matrix(self) -> pd.DataFrame:
        """Return one line per score of a row after a stage, for all seeds together and for each seed."""
        return frames.matrix_frame(self)

    @property
    def best(self) -> str:
        """What the mark of the best number means."""
        return notes.BEST

    @property
    def tie(self) -> str:
        """What the mark of a tie with the best means."""
        return words.tie(len(self.seeds), "best")
