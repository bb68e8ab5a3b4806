"""Baselines on real Ray: rows that are chosen on validation come in a second pass of the same command."""

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.ray


def test_chosen_controls_and_curves_come_with_one_command_and_are_cached(
    tiny_command: list[str], tiny_tasks: Path, tmp_path: Path
) -> None:
    output = tmp_path / "runs"
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "dare", "--ranks", "2", "--lanes", "1"]
    words = ["run", *cells, "--baselines", "--rewind", "0.5", "--output", str(output)]

    ran = subprocess.run([*tiny_command, *words], capture_output=True, encoding="utf-8", timeout=600, check=False)

    assert ran.returncode == 0, ran.stderr
    frame = pd.read_csv(next(output.glob("reports/*/leaderboard.csv")), keep_default_na=False)
    rows = {(row.method, row.variant): row.status for row in frame.itertuples() if row.quantity == "score"}
    parts = ("attention only", "attention at equal size", "gate_up only", "gate_up at equal size")
    controls = ("lr/3", "frozen connector", *parts, "stopped early", "rewound to dare", "oracle gate")
    assert {("lora", ""), ("dare", ""), *(("lora", control) for control in controls)} <= rows.keys()
    assert set(rows.values()) == {"done"}
    assert next(output.glob("reports/*/curves/new_squares-r2.png"), None)
    assert "Source at equal Target" in ran.stdout
    again = subprocess.run([*tiny_command, *words], capture_output=True, encoding="utf-8", timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    assert re.search(r"cached: (\d+) of \1 trials", again.stderr), again.stderr
    assert again.stdout == ran.stdout
