"""A run folder as data frames, and the Parquet files of a run, read by pandas and by DuckDB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

import bench
from bench.errors import StoreError

pytestmark = pytest.mark.slow


def test_a_run_folder_is_read_as_data_frames(two_runs: Path) -> None:
    found = bench.read(two_runs)

    assert set(found.trials["label"]) == {"zero_shot", "lora-r2-new_squares-s0", "dare-r2-new_squares-s0"}
    assert found.scores["score"].between(0, 1).all()
    means = found.scores.groupby(["label", "task"])["score"].mean()
    for trial in found.trials.to_dict("records"):
        assert means[trial["label"], "old_squares"] == pytest.approx(trial["score.old_squares"])
    assert set(found.leaderboard["method"]) == {"zero_shot", "lora"}  # the latest run has no dare


def test_the_lines_of_the_page_that_check_a_number_by_hand_give_the_leaderboards_numbers(two_runs: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-numbers-are-made.md"
    lines = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    lines = lines.replace('"check"', repr(str(two_runs))).replace("icon_choice", "new_squares")

    exec(compile(lines, page.name, "exec"), known := dict[str, Any]())

    row = bench.read(two_runs).leaderboard.set_index("method").loc["lora"]
    assert known["source"] == pytest.approx(100 * row["source"])
    assert known["means"]["new_squares"] == pytest.approx(100 * row["target"])
    assert (known["source"] + known["means"]["new_squares"]) / 2 == pytest.approx(100 * row["avg"])


def test_the_leaderboard_of_a_named_run_is_read(two_runs: Path) -> None:
    (name,) = (path.parent.name for path in two_runs.glob("reports/*dare*/command.json"))

    found = bench.read(str(two_runs), name).leaderboard

    assert set(found["method"]) == {"zero_shot", "lora", "dare"}
    assert {"target_task", "rank", "source", "source_low", "source_high", "avg_minus_lora"} <= set(found.columns)


def test_the_files_of_a_run_are_read_by_duckdb_and_agree_with_its_json(two_runs: Path) -> None:
    (folder,) = (path.parent for path in two_runs.glob("reports/*dare*/command.json"))
    data = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))

    question = f"select label, task, avg(score) from '{folder / 'scores.parquet'}' group by label, task"
    asked = duckdb.connect().execute(question).fetchall()
    rows = {row["method"]: row["scores"] for row in data["tables"][0]["rows"]}
    for label, task, mean in asked:
        column = "target" if task == "new_squares" else task
        assert rows[label.split("-")[0]][column]["value"] == pytest.approx(mean)
    wide = pd.read_parquet(folder / "leaderboard.parquet").set_index("method")
    for method, scores in rows.items():
        assert wide.loc[method, "target"] == pytest.approx(scores["target"]["value"])
        assert wide.loc[method, "target_low"] == pytest.approx(scores["target"]["low"])


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no run folder .*nowhere"):
        bench.read(tmp_path / "nowhere")


def test_a_run_without_the_file_says_what_to_do(two_runs: Path) -> None:
    for path in two_runs.glob("reports/*/leaderboard.parquet"):
        path.unlink()

    with pytest.raises(StoreError, match="Run its command again"):
        _ = bench.read(two_runs).leaderboard
