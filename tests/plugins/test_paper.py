"""A paper's published numbers, as they are read from its file."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import Paper, PluginError, published_rows
from bench.plugins.paper import compared_rows
from bench.plugins.registry import Registry
from tests.making.published import published


@pytest.fixture(scope="module")
def paper() -> Paper:
    found = Registry().paper("lorasculpt")
    assert isinstance(found, Paper)
    return found


def test_the_published_rows_are_fractions_by_column_with_the_recipes_words(paper: Paper) -> None:
    rows = published_rows(paper)

    assert len(rows) == 60
    scores = {"okvqa": 0.4506, "ocrvqa": 0.484, "gqa": 0.4922, "textvqa": 0.3647}
    scores |= {"source": 0.4479, "target": 0.8252, "avg": 0.6365}
    lora = next(row for row in rows if row.place == ("lora", 32, "iconqa"))
    assert (lora.table, lora.connector, lora.variant) == ("1", "full", "")
    assert lora.scores == pytest.approx(scores)
    assert (rows[0].method, rows[0].rank, rows[0].connector) == ("zero_shot", None, None)
    ablation = next(row for row in rows if row.variant == "srr")
    assert set(ablation.scores) == {"source", "target", "avg"}


def test_the_published_source_and_avg_are_the_means_that_ours_are(paper: Paper) -> None:
    for row in compared_rows(paper):
        source = sum(row.scores[task] for task in paper.sources) / 4
        assert row.scores["source"] == pytest.approx(source, abs=1e-4), row.place
        assert row.scores["avg"] == pytest.approx((row.scores["source"] + row.scores["target"]) / 2, abs=1e-4)


def test_each_cell_is_compared_once_and_table_2_adds_the_connectors(paper: Paper) -> None:
    rows = compared_rows(paper)

    assert len(rows) == 2 + 7 * 3 * 2 + 3
    assert {(*row.place, row.connector) for row in rows if row.table == "2"} == {
        ("lora", 64, "iconqa", "lora"),
        ("lora", 64, "iconqa", "frozen"),
        ("lorasculpt", 64, "iconqa", "lora"),
    }
    assert published(paper, "lorasculpt", 64, "iconqa", "lora").scores["avg"] == pytest.approx(0.7245)


def test_variants_and_tables_that_are_not_named_are_read_but_not_compared(paper: Paper, tmp_path: Path) -> None:
    file = tmp_path / "small.csv"
    lines = ("1,lora,32,iconqa,full,,50", "1,lora,16,iconqa,full,half,60", "9,dora,32,iconqa,full,,70")
    file.write_text("\n".join(("table,method,rank,target_task,connector,variant,avg", *lines)), encoding="utf-8")
    small = replace(paper, file=file)

    assert [row.scores["avg"] for row in published_rows(small)] == [0.5, 0.6, 0.7]
    assert [row.scores["avg"] for row in compared_rows(small)] == [0.5]


@pytest.mark.parametrize(
    "text", ["table,method\n1,lora\n", "table,method,rank,target_task,connector,variant,avg\n1,a,2,t,odd,,1\n"]
)
def test_a_file_of_another_shape_is_named(paper: Paper, text: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(PluginError, match=r"odd\.csv is not a table of published numbers: KeyError"):
        published_rows(replace(paper, file=file))
