from pathlib import Path

from bench.leaderboard.tables import Leaderboard
from bench.results import latex

GOLDEN = Path(__file__).parent / "golden"


def test_the_latex_of_a_fixed_leaderboard(leaderboard: Leaderboard, tmp_path: Path) -> None:
    written = latex.write(leaderboard, tmp_path / "leaderboard.tex")

    assert written.read_text(encoding="utf-8") == (GOLDEN / "leaderboard.tex").read_text(encoding="utf-8")


def test_every_line_of_the_body_fills_the_columns(leaderboard: Leaderboard) -> None:
    columns = len(leaderboard.columns) + 1
    lines = [line for line in latex.render(leaderboard).splitlines() if line.endswith("\\\\")]

    assert lines
    for line in lines:
        spanned = sum(int(part.split("}")[0]) - 1 for part in line.split(r"\multicolumn{")[1:])
        assert line.replace("\\&", "").count("&") + 1 + spanned == columns


def test_braces_and_the_other_special_characters_stay_in_balance(leaderboard: Leaderboard) -> None:
    text = latex.render(leaderboard)

    assert "out of memory (\\_50\\%\\_)" in text
    assert text.count("{") == text.count("}")
