from pathlib import Path

import pytest

from bench.leaderboard.tables import Leaderboard
from bench.results import markdown

GOLDEN = Path(__file__).parent / "golden"


def test_the_markdown_of_a_fixed_leaderboard(leaderboard: Leaderboard, tmp_path: Path) -> None:
    written = markdown.write(leaderboard, tmp_path / "leaderboard.md")

    assert written.read_text(encoding="utf-8") == (GOLDEN / "leaderboard.md").read_text(encoding="utf-8")


def test_a_few_seeds_are_all_printed_with_their_range(leaderboard_of_two_seeds: Leaderboard) -> None:
    assert "| lora | 16 | 0 1 | 55.00, 57.50 (55.00 to 57.50) |" in markdown.render(leaderboard_of_two_seeds)


@pytest.mark.parametrize("target", [0, 1])
def test_every_line_of_a_table_has_as_many_cells(leaderboard: Leaderboard, target: int) -> None:
    section = markdown.render(leaderboard).split("## Target")[target + 1]

    cells = {line.replace("\\|", "").count("|") for line in section.splitlines() if line.startswith("|")}
    assert len(cells) == 1


def test_an_error_text_cannot_break_the_table(leaderboard: Leaderboard) -> None:
    assert "seed 0 failed: out of memory (\\_50%\\_)" in markdown.render(leaderboard)
