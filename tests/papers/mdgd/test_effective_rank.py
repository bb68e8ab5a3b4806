"""The effective rank of states, and the study that draws it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.cli.main import main
from bench.papers.mdgd.effective_rank import effective_rank
from bench.papers.studies import STUDIES


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]], 1.97970064),
        ([[3.0, 0.0], [0.0, 1.0]], 1.75476535),
        ([[1.0, 2.0], [2.0, 4.0]], 1.0),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 3.0),
    ],
)
def test_a_worked_example_of_the_effective_rank(states: list[list[float]], expected: float) -> None:
    assert effective_rank(torch.tensor(states)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_the_study_has_every_block_of_every_model_on_every_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--targets", "icon_choice", "--sources", "easy_vqa", "--ranks", "2", "--limit", "2", "--lanes", "0"]
    words += ["--set", "recipe.updates=1", "--set", "recipe.batch_size=2", "--output", str(tmp_path)]

    assert main(["study", "effective_rank", *words]) == 0

    (path,) = tmp_path.glob("reports/study-*/effective_rank.csv")
    found = pd.read_csv(path)
    assert set(found["method"]) == {"zero_shot", *STUDIES["effective_rank"].methods}
    assert found.groupby(["method", "task"])["block"].nunique().eq(found["block"].nunique()).all()
    assert ((found["effective_rank"] >= 1) & (found["effective_rank"] <= 64)).all()
    assert path.with_suffix(".png").is_file()
    assert "icon_choice rank 2, mdgd: in the last block" in capsys.readouterr().out
