"""A comparison as text: for the terminal, as Markdown and as CSV."""

import csv
import io

import pytest

from bench import Paper
from bench.papers import comparison_text
from bench.papers.comparison import compare
from tests.making.published import board, cell


def test_the_table_shows_three_columns_in_80_and_says_what_the_interval_covers(paper: Paper) -> None:
    found = compare(paper, board(paper, cell(paper, "lora", shift=1.5)), 2.0)

    text = "\n".join(comparison_text.table(found))

    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "lora Source 46.29 ±0.00 44.79 +1.50 reproduced" in lines
    assert "Target 84.02 ±0.00 82.52 +1.50 reproduced" in lines
    assert "okvqa" not in text
    assert "With one seed, they and the marks cover test sampling only" in " ".join(lines)
    assert "Of 14 compared numbers: 14 reproduced" in text
    assert max(len(line) for line in text.splitlines() if "±0" in line) <= 80


def test_markdown_and_csv_have_every_number(paper: Paper) -> None:
    found = compare(paper, board(paper, cell(paper, "lora", shift=-3.0)), 2.0)

    markdown = "\n".join(comparison_text.markdown(found))
    lines = list(csv.DictReader(io.StringIO("\n".join(comparison_text.comma_separated(found)))))

    assert "| lora | 32 | full | textvqa | 33.47 | [33.47, 33.47] | 36.47 | -3.00 | below |" in markdown
    assert len(lines) == 14
    line = next(line for line in lines if (line["method"], line["of"]) == ("lora", "textvqa"))
    assert float(line["difference"]) == pytest.approx(-0.03)
    assert (line["published"], line["verdict"], line["table"], line["rank"]) == ("0.3647", "below", "1", "32")
