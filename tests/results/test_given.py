"""Every report marks a row that was given what plain LoRA is not, next to its name; the others stay as they are."""

from dataclasses import replace

from bench.leaderboard.build import build
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.results import csv, latex, markdown, table
from tests.making import boards

SCORES = {"easy_vqa": boards.right(5), "icon_choice": boards.right(6)}


def board() -> Leaderboard:
    replayed = boards.cell("replay", "icon_choice", SCORES)
    replayed = replace(replayed, key=replace(replayed.key, given="sees source data", ranked=False))
    broken = boards.failed("mixed", "icon_choice", "out of memory")
    broken = replace(broken, key=replace(broken.key, given="sees source data"))
    cells = [boards.cell("lora", "icon_choice", SCORES), replayed, broken]
    return build(cells, None, sources=["easy_vqa"], targets=["icon_choice"], heading=Heading("micro"))


def test_the_table_marks_the_row_and_says_once_what_the_mark_means() -> None:
    text = table.render(board(), 120).plain

    assert "\n replay ‡ " in text
    assert "\n mixed ‡  " in text
    assert "\n lora  " in text
    assert "‡ replay r16, mixed r16: sees source data\n" in text
    assert text.count("‡:") == 1


def test_markdown_and_latex_mark_the_row() -> None:
    assert "| replay ‡ | 16 |" in markdown.render(board())
    assert "* ‡ replay r16, mixed r16: sees source data" in markdown.render(board())
    text = "\n".join(line for line in latex.render(board()).splitlines() if not line.startswith("% "))
    assert "{replay $^{\\ddagger}$} & " in text
    assert "‡" not in text


def test_the_csv_has_a_column_for_it() -> None:
    lines = csv.render(board()).splitlines()

    assert lines[0] == ",".join(csv.COLUMNS)
    assert all(line.endswith(",sees source data") == (",lora," not in line) for line in lines[1:])
