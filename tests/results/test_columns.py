"""The files of a leaderboard have the columns that the page of the run folder lists, whatever their rows lack."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from bench.leaderboard.build import build
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.results import csv
from bench.store.frames import scores_frame
from bench.store.run_folder import Store
from tests.making import boards, guides

PAGE = "docs/run-folder.md"
SCORES = {"easy_vqa": boards.right(5), "sign_words": boards.right(4), "icon_choice": boards.right(6)}


def documented(file: str) -> list[str]:
    """Return the columns that the page lists for a file, with the bounds of those that have an interval."""
    found = []
    for cell, *_ in guides.table_rows(guides.page(PAGE), file)[1:]:
        bounds = ("", "_low", "_high") if "each with `_low` and `_high`" in cell else ("",)
        found += [f"{name}{end}" for name in re.findall(r"`([a-z]\w*)`", cell) for end in bounds]
    return found


def poor() -> Leaderboard:
    """A leaderboard whose rows have no remark, no cost, no gain and no zero-shot score to forget."""
    cells = [boards.cell("lora", "icon_choice", SCORES)]
    sources, targets = ["easy_vqa", "sign_words"], ["icon_choice"]
    return build(cells, None, sources=sources, targets=targets, heading=Heading("micro"))


def rich(plain: Leaderboard) -> Leaderboard:
    """The same with every remark: a source left out, given data, another environment."""
    (table,) = plain.tables
    rows = [
        replace(row, key=replace(row.key, given="sees source data"), foreign={"rank": "trained with torch 2.13"})
        for row in table.rows
    ]
    return replace(plain, tables=(replace(table, rows=tuple(rows)),), left_out=("sign_words",))


def test_the_parquet_of_a_leaderboard_has_the_columns_of_its_page(leaderboard: Leaderboard) -> None:
    for board in (leaderboard, poor(), rich(poor())):
        assert sorted(board.whole_frame().columns) == sorted([*documented("leaderboard.parquet"), *board.sources])


def test_a_column_of_parquet_has_one_type_whatever_the_rows_lack(leaderboard: Leaderboard, tmp_path: Path) -> None:
    schemas = []
    for number, board in enumerate((leaderboard, poor(), rich(poor()))):
        board.whole_frame().to_parquet(path := tmp_path / f"{number}.parquet", index=False)
        schemas.append({field.name: str(field.type) for field in pq.read_schema(path)})

    assert schemas[0] == schemas[1] == schemas[2]


def test_the_csv_of_a_leaderboard_has_the_columns_of_its_page(leaderboard: Leaderboard) -> None:
    for board in (leaderboard, poor(), rich(poor())):
        frame = pd.read_csv(StringIO(csv.render(board)))
        assert sorted(frame.columns) == sorted(documented("leaderboard.csv"))


def test_the_parquet_of_scores_has_the_columns_of_its_page(tmp_path: Path) -> None:
    assert sorted(scores_frame(Store(tmp_path), []).columns) == sorted(documented("scores.parquet"))
