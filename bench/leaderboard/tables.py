"""Define the leaderboard: one table per target, with intervals, ties and holes.

bench.leaderboard.build makes it, and every number of a report is in it. Scores are fractions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bench.leaderboard import notes
from bench.leaderboard.cell_scores import Status
from bench.leaderboard.heading import Heading
from bench.leaderboard.stats import SEEDS_ADVISED, Estimate, bounded
from bench.plan.row_key import RowKey
from bench.values.record import Cost

if TYPE_CHECKING:
    import pandas as pd

Quantity = Literal["difference", "gain", "forgetting"]


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason why a row lacks some or all numbers of a seed."""

    seed: int
    status: Status
    error: str


@dataclass(frozen=True, slots=True)
class Row:
    """A method at one rank. The estimates are by column; a column that could not be measured is absent.

    ``scores`` and ``difference`` have every source, "source", "target" and "avg". ``lenient`` and ``forgetting``
    (zero-shot minus the row) have the sources and "source". ``difference`` is from the baseline of the same rank, or
    from the tuned baseline for a tuned row. ``gain`` is from the method's own row without a variant. Both are paired
    by example and seed.

    ``best`` names the columns in which the row has the highest number of its rank, among the rows that were given the
    same. ``tied`` names the columns in which the row cannot be told apart from that. ``same_as`` is the label of the
    baseline if the row gave the baseline's answer to every example, or else empty. ``unbeaten`` names the controls that
    the row's Avg is not shown to exceed.

    ``foreign`` describes each mismatch of environments by what it affects: "rank" (compared with the other rows of
    the block), "difference", "gain" or "forgetting". These are then not judged, unless ``mixed`` is true.
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
    same_as: str
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
        """What distinguishes the row from the method's own row, or nothing."""
        return self.key.variant

    @property
    def rank(self) -> int | None:
        """The rank, or None for the untouched base model."""
        return self.key.rank

    @property
    def connector(self) -> str:
        """The connector policy."""
        return self.key.connector

    @property
    def ranked(self) -> bool:
        """Whether the row can be the highest of its rank."""
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
        """The method, and the variant if there is one."""
        return self.key.name

    @property
    def label(self) -> str:
        """The row's name in running text."""
        return self.key.label

    @property
    def block(self) -> tuple[int, str]:
        """The key of the row's block: its rank (0 for the base model) and its connector policy."""
        return self.key.block

    @property
    def cost(self) -> Cost | None:
        """The row's cost: seconds are means over seeds, and all else is the maximum over seeds."""
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
        """Why the row lacks numbers, on one line."""
        return notes.trouble(self.problems)

    @property
    def cost_texts(self) -> tuple[str, str, str]:
        """Training seconds, peak memory in GB and trainable parameters, as tables show them."""
        return notes.cost_texts(self.cost)

    @property
    def sign(self) -> str:
        """The text after the row's name: the marks of what it was given and of a different environment, or nothing."""
        given = f" {notes.GIVEN}" if self.key.given else ""
        return given + (f" {notes.FOREIGN}" if self.foreign.keys() & {"rank", "difference"} else "")

    @property
    def given(self) -> str:
        """What the row was given that plain LoRA is not, such as "sees source data", or nothing."""
        return self.key.given

    def mark(self, column: str) -> Literal["best", "tied", ""]:
        """Return whether the row is best or tied in a column."""
        if column in self.best:
            return "best"
        return "tied" if column in self.tied else ""

    def refuses(self, quantity: str) -> bool:
        """Whether a quantity is not judged because it compares different environments."""
        return quantity in self.foreign and not self.mixed

    def verdict(self, quantity: Quantity, estimate: Estimate) -> Literal["foreign", "tied", ""]:
        """Return how a difference of the row is marked: foreign (not judged), tied, or neither."""
        if self.refuses(quantity):
            return "foreign"
        return "tied" if estimate.covers_zero and quantity != "forgetting" else ""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one target: reference rows first, then methods by rank.

    ``resolution`` is the smallest Avg difference from the baseline that the table can resolve. ``too_high`` is how
    much the highest Avg of equal rows exceeds the truth on average, in the rank where that is most.
    """

    target: str
    rows: tuple[Row, ...]
    resolution: float | None
    too_high: float | None = None

    def blocks(self) -> Iterator[tuple[Row, ...]]:
        """Yield each block of rows that are compared with each other."""
        for block in dict.fromkeys(row.block for row in self.rows):
            yield tuple(row for row in self.rows if row.block == block)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The remarks about single rows, which reports print under the table."""
        return tuple(notes.remarks(self))


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """One table per target, with everything that a reader needs to understand them.

    ``methods`` are those of the rows other than controls, in the order in which they were asked for.
    """

    heading: Heading
    sources: tuple[str, ...]
    baseline: str
    connectors: tuple[str, ...]
    seeds: tuple[int, ...]
    tables: tuple[Table, ...]
    methods: tuple[str, ...]
    left_out: tuple[str, ...] = ()  # sources at chance, which have a column and do not count in Source

    @property
    def columns(self) -> tuple[str, ...]:
        """The score columns, in the order in which they are shown."""
        return (*self.sources, "source", "target", "avg")

    @property
    def tuned(self) -> bool:
        """Whether some rows were chosen from several configurations, so that tries is a column."""
        return any(row.tries > 1 for table in self.tables for row in table.rows)

    @property
    def controlled(self) -> bool:
        """Whether there are controls, so that "not above" is a column."""
        return any(row.control for table in self.tables for row in table.rows)

    @property
    def setting(self) -> str:
        """Suite, connector policy, seeds, and whether environments are mixed, on one line."""
        return notes.setting(self)

    @property
    def foreign(self) -> bool:
        """Whether any comparison is between different environments."""
        return any(row.foreign for table in self.tables for row in table.rows)

    @property
    def given(self) -> bool:
        """Whether any row was given what plain LoRA is not."""
        return any(row.given for table in self.tables for row in table.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes under the tables. Each report adds the legend of its own marks."""
        return tuple(notes.legend(self))

    @property
    def covered(self) -> str:
        """What the intervals cover."""
        return notes.covered(len(self.seeds))

    @property
    def tie(self) -> str:
        """What the mark of a tie with the highest means."""
        return notes.tie(len(self.seeds))

    def resolution(self, table: Table) -> str:
        """Return what a table can resolve, and how much its highest Avg is too high."""
        return notes.resolution(self.baseline, table)

    @property
    def spread_shown(self) -> bool:
        """Whether every seed is printed, because there are several but too few for narrow intervals."""
        return 1 < len(self.seeds) < SEEDS_ADVISED

    def frame(self, target: str) -> pd.DataFrame:
        """Return a target's table as a data frame, with scores as fractions and NaN for holes.

        Every leaderboard of the same sources has the same columns of the same types, whatever its rows lack.
        """
        import pandas as pd  # imported here because a printed table needs no data frame

        table = next(table for table in self.tables if table.target == target)
        lines = [self._line(row) for row in table.rows]
        numbers = (name for line in lines for name, value in line.items() if value is None or isinstance(value, float))
        whole = dict.fromkeys(("rank", "peak_memory_bytes", "trainable_parameters"), "Int64")
        return pd.DataFrame(lines).astype({**dict.fromkeys(numbers, "float64"), **whole})

    def whole_frame(self) -> pd.DataFrame:
        """Return the tables of all targets as one data frame, whose first column is the target."""
        import pandas as pd

        parts = []
        for table in self.tables:
            frame = self.frame(table.target)
            frame.insert(0, "target_task", table.target)
            parts.append(frame)
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def _line(self, row: Row) -> dict[str, object]:
        line: dict[str, object] = {"method": row.method, "variant": row.variant, "rank": row.rank}
        line |= {"connector": row.connector, "tries": row.tries, "control": row.control}
        line |= {"not_above": ", ".join(row.unbeaten), "seeds": " ".join(map(str, row.seeds))}
        line |= {source: row.scores[source].value if source in row.scores else None for source in self.sources}
        for column in ("source", "target", "avg"):
            line |= bounded(column, row.scores.get(column))
        line |= bounded("forgetting", row.forgetting.get("source"))
        line |= bounded(f"avg_minus_{self.baseline}", row.difference.get("avg"))
        line |= bounded("avg_gain", row.gain.get("avg"))
        for name in ("train_seconds", "evaluate_seconds", "peak_memory_bytes", "trainable_parameters"):
            line[name] = getattr(row.cost, name) if row.cost else None
        line |= {"left_out": ", ".join(self.left_out), "given": row.given}
        line["environment"] = "; ".join(dict.fromkeys(row.foreign.values()))
        return {**line, "problems": row.trouble}
