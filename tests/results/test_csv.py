from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from bench.leaderboard.tables import Leaderboard
from bench.results import csv

GOLDEN = Path(__file__).parent / "golden"


def read(leaderboard: Leaderboard) -> pd.DataFrame:
    return pd.read_csv(StringIO(csv.render(leaderboard)))


def test_the_csv_of_a_fixed_leaderboard(leaderboard: Leaderboard, tmp_path: Path) -> None:
    written = csv.write(leaderboard, tmp_path / "leaderboard.csv")

    assert written.read_text(encoding="utf-8") == (GOLDEN / "leaderboard.csv").read_text(encoding="utf-8")


def test_every_number_of_a_row_is_there_with_its_interval(leaderboard: Leaderboard) -> None:
    frame = read(leaderboard)
    dora = frame[(frame.method == "dora") & (frame["rank"] == 16) & (frame.target == "icon_choice")]

    overall = dora[dora.seed.isna()].set_index(["quantity", "of"])
    assert overall.loc[("score", "source"), "value"] == pytest.approx((0.65 + 0.5) / 2)
    assert overall.loc[("lenient", "easy_vqa"), "value"] == pytest.approx(0.7)
    assert overall.loc[("forgetting", "source"), "value"] == pytest.approx(0.875 - 0.575)
    assert overall.loc[("difference", "avg"), "value"] == pytest.approx(0.0125)
    assert overall[["low", "high"]].notna().all(axis=None)


def test_every_seed_has_its_own_line(leaderboard_of_two_seeds: Leaderboard) -> None:
    frame = read(leaderboard_of_two_seeds)

    avg = frame[(frame.method == "lora") & (frame["rank"] == 16) & (frame.of == "avg") & (frame.quantity == "score")]
    assert avg[avg.target == "icon_choice"].set_index("seed").value.loc[[0, 1]].tolist() == [0.675, 0.6875]


def test_failures_and_holes_are_lines_with_their_reason(leaderboard: Leaderboard) -> None:
    problems = read(leaderboard).query("quantity == 'problem' and target == 'icon_choice'")

    assert problems[["method", "status", "error"]].to_numpy().tolist() == [
        ["dora", "failed", "out of memory (_50%_)"],
        ["lorasculpt", "missing", "no scores on sign_words"],
    ]


def test_a_source_that_source_leaves_out_is_a_line_of_every_row(leaderboard: Leaderboard) -> None:
    frame = read(replace(leaderboard, left_out=("sign_words",)))

    lines = frame[frame.quantity == "left out"]
    assert set(lines.of) == {"sign_words"}
    assert len(lines) == sum(len(table.rows) for table in leaderboard.tables)


def test_a_text_that_a_spreadsheet_would_compute_is_shown(leaderboard: Leaderboard) -> None:
    table = leaderboard.tables[0]
    formula = replace(table.rows[1], key=replace(table.rows[1].key, method='=cmd("calc")', variant="@sum"))
    evil = replace(leaderboard, tables=(replace(table, rows=(table.rows[0], formula)),))

    frame = read(evil)

    assert set(frame.method) == {table.rows[0].method, '\'=cmd("calc")'}
    assert set(frame.variant.dropna()) == {"'@sum"}
    numbers = read(leaderboard)
    assert numbers.value.dtype == "float64"
    assert (numbers.low < 0).any()
