"""Compare a leaderboard with a run that somebody else published, row by row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

from bench.errors import StoreError, UsageError
from bench.leaderboard.notes import FOREIGN
from bench.leaderboard.tables import Leaderboard, Row, Table
from bench.plan.plan import Plan
from bench.plan.row_key import RowKey
from bench.text import text_table
from bench.values.scores import EVAL_VERSION
from bench.values.trial import FIT_VERSION

MANIFEST, BOARD = "run.json", "leaderboard.json"
MANIFEST_SCHEMA = 1  # raised if a field of the manifest is renamed, removed or means something else
_BOARDS = (1, 2)  # schemas of a leaderboard; the fields that are compared mean the same in both
_FIELDS = ("suite", "base_models", "fit_versions", "eval_versions", "recipe", "scored", "environment", "trials")
_CONTROL = re.compile(r"\\u00[01][0-9a-f]|\\u007f|[\x00-\x08\x0b-\x1f\x7f]")  # a terminal obeys some of them
_COLUMNS = ("source", "target", "avg")
_HEADS = ("", "ours", "theirs", "difference")
_APART = f"{FOREIGN}: the row differs between the runs in more than chance, as its line says. The difference may come"
_NOT_JUDGED = f"{_APART} from that, so it is called neither a tie nor significant. Add --mix to judge it anyway."
_MIXED = f"{_APART} from that. It is judged anyway (--mix)."


@dataclass(frozen=True, slots=True)
class OtherRun:
    """A published run: its manifest and its leaderboard, as ``bench publish`` writes them."""

    folder: Path
    manifest: Mapping[str, Any]
    board: Mapping[str, Any]

    def row(self, target: str, row: Row) -> Mapping[str, Any] | None:
        """Return the row of the same method, variant, rank and connector, or None."""
        for table in self.board["tables"]:
            for other in table["rows"] if table["target"] == target else ():
                place = (other["method"], other["variant"], other["rank"], other["connector"])
                if place == (row.method, row.variant, row.rank, row.connector):
                    found: Mapping[str, Any] = other
                    return found
        return None


def read_other(folder: Path) -> OtherRun:
    """Read a folder that ``bench publish`` wrote.

    Raises:
        UsageError: the folder is not such a folder, or has no leaderboard, or is of another version.
        StoreError: a file is damaged.
    """
    found = []
    for name, known, fields in (
        (MANIFEST, (MANIFEST_SCHEMA,), _FIELDS),
        (BOARD, _BOARDS, ("sources", "left_out", "tables")),
    ):
        path = folder / name
        if not path.is_file():
            raise UsageError(f"{folder} has no {name}. Name a folder of a run that bench publish wrote.")
        try:
            data = dict(json.loads(_CONTROL.sub("", path.read_text(encoding="utf-8"))))
            schema = data["schema"]
            if schema in known and (lacking := [field for field in fields if field not in data]):
                raise ValueError(f"it lacks {', '.join(lacking)}")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path} is damaged ({error}). Get the folder again.") from error
        if schema not in known:
            reads = " and ".join(map(str, known))
            raise UsageError(f"{path} has schema {schema}, and this version reads {reads}. Update bench.")
        found.append(data)
    return OtherRun(folder, *found)


def refusals(other: OtherRun, ours: Leaderboard, plan: Plan) -> Iterator[str]:
    """Yield why numbers of two runs must not stand next to each other."""
    theirs = other.manifest
    if theirs["suite"] != ours.heading.suite:
        yield f"it is of suite {theirs['suite']}, and yours of {ours.heading.suite}"
    for name, what, mine in (
        ("base_models", "its base model has revision", plan.zero_shot.model),
        ("fit_versions", "it was trained and edited by version", FIT_VERSION),
        ("eval_versions", "it was answered and scored by version", EVAL_VERSION),
    ):
        if theirs[name] != [mine]:
            yield f"{what} {', '.join(map(str, theirs[name]))}, and yours {mine}"
    for name, tasks in (("sources", ours.sources), ("left_out", ours.left_out)):
        if tuple(other.board[name]) != tasks:
            what = "its sources are" if name == "sources" else "its Source leaves out"
            yield f"{what} {_listed(other.board[name])}, and yours {_listed(tasks)}"
    for asked in plan.asked[None]:
        scored = theirs["scored"].get(asked.task)
        if scored is not None and scored["examples"] != asked.examples:
            yield f"it scored {scored['count']:,} examples of {asked.task}, and yours other {asked.count:,}"


def remarks(other: OtherRun, ours: Leaderboard) -> Iterator[str]:
    """Yield a line if the seeds differ. That is no reason not to judge: seeds are chance, as examples are."""
    if tuple(other.board.get("seeds", ())) != ours.seeds:
        yield f"seeds: {_listed(ours.seeds)} here, {_listed(other.board.get('seeds', ()))} there"


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items)) or "none"


def lines(ours: Leaderboard, other: OtherRun, differing: Mapping[tuple[str, RowKey], str]) -> Iterator[str]:
    """Yield a table per target of the rows that both runs have, and the names of the others.

    ``differing`` says by target and row in what rows differ besides chance. Their differences are not judged, unless
    the heading of our leaderboard says that environments are mixed.
    """
    marked = False
    for table in ours.tables:
        yield f"target {table.target}"
        rows, reasons = [list(_HEADS)], dict[str, list[str]]()
        for row in (row for block in table.blocks() for row in block):
            theirs, reason = other.row(table.target, row), differing.get((table.target, row.key), "")
            if theirs is not None and row.scores and theirs["scores"]:
                judged = not reason or ours.heading.mixed
                sign = f" {FOREIGN}" if reason else ""
                rows += [[f"{row.label}{sign}", "", "", ""], *_numbers(row, theirs["scores"], judged=judged)]
                if reason:
                    reasons.setdefault(reason, []).append(row.label)
        if len(rows) > 1:
            yield from text_table(rows)
        yield from (f"{FOREIGN} {', '.join(labels)}: {reason}" for reason, labels in reasons.items())
        yield from _missing(table, other)
        yield ""
        marked = marked or bool(reasons)
    yield (
        "Scores are x100. ±: 95 % intervals; those of a difference treat the two runs as independent. "
        "=: the interval covers 0."
    )
    if marked:
        yield _MIXED if ours.heading.mixed else _NOT_JUDGED


def _numbers(row: Row, theirs: Mapping[str, Any], *, judged: bool) -> Iterator[list[str]]:
    for column in _COLUMNS:
        if column in row.scores and column in theirs:
            mine, their = row.scores[column], theirs[column]
            half = max(their["high"] - their["value"], their["value"] - their["low"])
            gap, wide = mine.value - their["value"], hypot(mine.half_width, half)
            mark = FOREIGN if not judged else "=" if abs(gap) <= wide else " "
            yield [
                f"  {column.capitalize()}",
                f"{mine.percent} ±{100 * mine.half_width:.2f}",
                f"{100 * their['value']:.2f} ±{100 * half:.2f}",
                f"{100 * gap:+z.2f}{mark} ±{100 * wide:.2f}",
            ]


def _missing(table: Table, other: OtherRun) -> Iterator[str]:
    mine = {(row.method, row.variant, row.rank, row.connector): row.label for row in table.rows if row.scores}
    theirs = {
        (row["method"], row["variant"], row["rank"], row["connector"]): f"{row['method']} {row['variant']}".rstrip()
        + (f" r{row['rank']}" if row["rank"] else "")
        for each in other.board["tables"]
        if each["target"] == table.target
        for row in each["rows"]
        if row["scores"]
    }
    for where, only, known in (("here", mine, theirs), ("there", theirs, mine)):
        if names := [name for place, name in only.items() if place not in known]:
            yield f"only {where}: {', '.join(names)}"
