"""Number the rows of a leaderboard for a page, so that its tables, figures and filters mean the same row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.leaderboard import scatter
from bench.leaderboard.tables import Leaderboard
from bench.plan.row_key import RowKey


@dataclass(frozen=True, slots=True)
class PageRow:
    """A row on a page: ``id`` is unique there, and ``name`` is what the filter for methods shows."""

    id: str
    name: str
    method: str
    rank: int
    control: bool


@dataclass(frozen=True, slots=True)
class PageRows:
    """The rows of a page by key; rows of several targets share an id."""

    by_key: dict[RowKey, PageRow]

    @classmethod
    def of(cls, keys: Iterable[RowKey]) -> PageRows:
        """Number the rows in the order in which they come first."""
        found: dict[RowKey, PageRow] = {}
        for key in keys:
            found.setdefault(key, PageRow(f"r{len(found)}", key.name, key.method, key.rank or 0, key.control))
        return cls(found)

    @classmethod
    def of_board(cls, board: Leaderboard) -> PageRows:
        """Number the rows of a leaderboard."""
        return cls.of(row.key for table in board.tables for row in table.rows)

    def id(self, key: RowKey) -> str:
        """Return the id of a row."""
        return self.by_key[key].id

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rows that have a rank, each once: methods first, then controls."""
        rows = sorted((row for row in self.by_key.values() if row.rank), key=lambda row: row.control)
        return tuple(dict.fromkeys(row.name for row in rows))

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks, each once."""
        return tuple(sorted({row.rank for row in self.by_key.values() if row.rank}))

    @property
    def marks(self) -> dict[str, str]:
        """The ids of rows by the ids that their parts have in figures."""
        return {scatter.gid_of(key): row.id for key, row in self.by_key.items()}

    def as_json(self) -> dict[str, dict[str, object]]:
        """Return what the page's filters need to know of each row, by id."""
        known = self.by_key.values()
        return {row.id: {name: getattr(row, name) for name in ("name", "method", "rank", "control")} for row in known}
