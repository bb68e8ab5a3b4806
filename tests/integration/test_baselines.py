"""Baselines: rows that are chosen on validation come in a second pass of the same command."""

import re
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.main import main
from bench.plan.suite import Suite

pytestmark = pytest.mark.slow


def test_chosen_controls_and_curves_come_with_one_command_and_are_cached(
    tiny_suite: Suite, tiny_tasks: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "dare", "--ranks", "2", "--lanes", "0"]
    words = ["run", *cells, "--baselines", "--rewind", "0.5", "--output", str(runs)]

    assert main(words) == 0
    ran = capsys.readouterr().out

    frame = pd.read_csv(next(runs.glob("reports/*/leaderboard.csv")), keep_default_na=False)
    rows = {(row.method, row.variant): row.status for row in frame.itertuples() if row.quantity == "score"}
    parts = ("attention only", "attention at equal size", "gate_up only", "gate_up at equal size")
    controls = ("lr/3", "frozen connector", *parts, "stopped early", "rewound to dare", "oracle gate")
    assert {("lora", ""), ("dare", ""), *(("lora", control) for control in controls)} <= rows.keys()
    assert set(rows.values()) == {"done"}
    assert next(runs.glob("reports/*/curves/new_squares-r2.png"), None)
    assert "Source at equal Target" in ran
    assert main(words) == 0
    again = capsys.readouterr()
    assert re.search(r"cached: (\d+) of \1 trials", again.err), again.err
    assert again.out == ran
