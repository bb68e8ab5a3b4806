"""Read what a paper published, and say which leaderboards can be compared with it; import no torch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.errors import PluginError
from bench.values.recipe import Connector

_TARGET, _ORDER = "target_task", "order"
_PLACE = ("table", "method", "rank", _TARGET, _ORDER, "connector", "variant")


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper with published tables, as an entry point of ``bench.papers`` names it.

    ``suite`` is the suite whose numbers are comparable. The leaderboard must have all of ``sources``, because Source is
    their mean, and may have any of ``targets``. ``connectors`` maps the words for connectors in ``file`` to those of
    the recipe. ``tables`` are the tables that leaderboards are compared with. ``tolerance`` is how far a rerun of the
    same method is expected to be from the paper, in points of the x100 scale. ``file`` is a CSV with the columns table,
    method, rank, target_task, connector and variant, and one column for each score, x100. A number that was not
    published is empty.
    """

    name: str
    citation: str
    suite: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    connectors: Mapping[str, Connector]
    tables: tuple[str, ...]
    tolerance: float
    file: Path


@dataclass(frozen=True, slots=True)
class SequencePaper:
    """A paper with published tables of sequences of tasks, as an entry point of ``bench.papers`` names it.

    The fields mean what those of a Paper mean. ``sources`` are those whose mean is the paper's Source; without any, its
    Source is not compared. ``file`` has the column ``order`` instead of target_task: the tasks in the order in which
    they are learnt, joined by dots (``a.b.c``). A score's column is the name of a task, for its score after the last
    stage, or of a column of a sequence's table (``ap``, ``bwt``, ``mif``). ``variant`` is that of a control, such as
    ``joint``.
    """

    name: str
    citation: str
    suite: str
    sources: tuple[str, ...]
    connectors: Mapping[str, Connector]
    tables: tuple[str, ...]
    tolerance: float
    file: Path


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of a published table.

    ``target`` is the target, or the order of a sequence. ``scores`` are fractions by column (the name of a task,
    "source", "target", "avg" or a column of a sequence's table). A reference row has no rank and no connector.
    ``connector`` is the word that the recipe uses. ``variant`` is "" for the method itself; otherwise it names a part
    or a setting of the method, as in an ablation, or a control of a sequence.
    """

    table: str
    method: str
    rank: int | None
    target: str
    connector: Connector | None
    variant: str
    scores: Mapping[str, float]

    @property
    def place(self) -> tuple[str, int | None, str]:
        """The method, rank and target that the row is about."""
        return (self.method, self.rank, self.target)


def published_rows(paper: Paper | SequencePaper) -> tuple[PublishedRow, ...]:
    """Return every row of every table of a paper, in the file's order.

    Raises:
        PluginError: the file is missing, lacks a column, or has a connector that ``paper.connectors`` does not map.
    """
    return _read(paper.file, tuple(paper.connectors.items()), _TARGET if isinstance(paper, Paper) else _ORDER)


def compared_rows(paper: Paper | SequencePaper) -> tuple[PublishedRow, ...]:
    """Return the rows that results are compared with: each once, and of a Paper without ablation variants."""
    rows = [row for row in published_rows(paper) if row.table in paper.tables]
    once: dict[object, PublishedRow] = {}
    for row in rows:
        if not row.variant or isinstance(paper, SequencePaper):
            once.setdefault((*row.place, row.connector, row.variant), row)
    return tuple(once.values())


@cache
def _read(file: Path, connectors: tuple[tuple[str, Connector], ...], column: str) -> tuple[PublishedRow, ...]:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return tuple(_row(line, dict(connectors), column) for line in csv.DictReader(lines))
    except (OSError, ValueError, KeyError) as error:
        raise PluginError(f"{file} is not a table of published numbers: {error!r}.") from error


def _row(line: Mapping[str, str], connectors: Mapping[str, Connector], column: str) -> PublishedRow:
    return PublishedRow(
        table=line["table"],
        method=line["method"],
        rank=int(line["rank"]) if line["rank"] else None,
        target=line[column],
        connector=connectors[line["connector"]] if line["connector"] else None,
        variant=line["variant"],
        scores={name: float(text) / 100 for name, text in line.items() if name not in _PLACE and text},
    )
