from pathlib import Path

import pytest

from bench.leaderboard.tables import Leaderboard
from bench.results import table

GOLDEN = Path(__file__).parent / "golden"


def test_the_terminal_table_of_a_fixed_leaderboard(leaderboard: Leaderboard, tmp_path: Path) -> None:
    written = table.write(leaderboard, tmp_path / "leaderboard.txt")

    assert written.read_text(encoding="utf-8") == (GOLDEN / "leaderboard.txt").read_text(encoding="utf-8")


def test_a_few_seeds_are_all_printed_with_their_range(leaderboard_of_two_seeds: Leaderboard) -> None:
    text = table.render(leaderboard_of_two_seeds, 100).plain

    assert text == (GOLDEN / "two_seeds.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (120, ""),
        (90, "Left out at this width: costs."),
        (80, "Left out at this width: costs, the score of each source."),
        (60, "costs, the score of each source, the intervals of Source and Target"),
    ],
)
def test_a_narrow_terminal_gets_less_and_is_told_so(leaderboard: Leaderboard, width: int, left_out: str) -> None:
    text = table.render(leaderboard, width).plain

    assert max(len(line) for line in text.splitlines()) <= width
    assert left_out in " ".join(text.split())
    assert "lost" in text
    assert "- lora" in text
    assert ("Left out" in text) == bool(left_out)


def test_a_failed_cell_and_a_hole_are_shown(leaderboard: Leaderboard) -> None:
    text = table.render(leaderboard, 120).plain

    assert " dora  seed 0 failed: out of memory (_50%_)" in text
    assert "lorasculpt r32: seed 0 missing: no scores on sign_words" in text


def test_the_highest_numbers_are_bold(leaderboard: Leaderboard) -> None:
    text = table.render(leaderboard, 120)

    bold = [text.plain[span.start : span.end].strip() for span in text.spans if span.style == "bold"]
    assert "83.75*" in bold
    assert "67.50" not in " ".join(bold)
