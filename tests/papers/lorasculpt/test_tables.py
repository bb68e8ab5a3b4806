from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.papers import comparison_text, published
from bench.papers.comparison import Compared
from bench.papers.studies import STUDIES
from bench.papers.study import StudyResult
from bench.plan.plan import Plan
from bench.plan.suite import Suite

Planned = Callable[..., Plan]
MadeUp = Callable[..., StudyResult]
Numbers = tuple[Compared, ...]


@pytest.fixture
def beside(paper_suite: Suite, planned: Planned, made_up: MadeUp) -> Callable[[str], Numbers]:
    """Return the numbers of a table study on the paper's suite, in which all of our scores are 0.5."""

    def numbers(name: str) -> Numbers:
        found = made_up(planned(f"{name} --suite lorasculpt"), lambda cell: (0.5, 0.5))
        return published.beside(STUDIES[name].tables, replace(found, published=published.rows(found.request)))

    return numbers


def ids(plan: Plan) -> set[str]:
    return {cell.trial.id for cell in plan.cells}


def variants(plan: Plan) -> list[tuple[str, str]]:
    return list(dict.fromkeys((cell.key.method, cell.key.variant) for cell in plan.cells))


@pytest.mark.slow
def test_table_1_has_42_cells_and_30_trainings(planned: Planned) -> None:
    plan = planned("table1 --limit 4")

    assert len(plan.cells) == 42
    assert len(plan.trainings) == 30


def test_table_2_has_five_rows_of_one_block_in_the_papers_order(planned: Planned) -> None:
    plan = planned("table2 --limit 4")

    connectors = [(cell.key.method, cell.trial.recipe.connector) for cell in plan.cells]
    assert connectors == [
        ("lora", "full"),
        ("lora", "lora"),
        ("lora", "frozen"),
        ("lorasculpt", "full"),
        ("lorasculpt", "lora"),
    ]
    assert len({cell.key.connector for cell in plan.cells}) == 1
    assert {(cell.trial.rank, cell.trial.target) for cell in plan.cells} == {(64, "icon_choice")}


def test_table_3_trains_only_the_parts_that_table_1_lacks(planned: Planned) -> None:
    parts, whole = planned("table3 --limit 4"), planned("table1 --limit 4")

    assert variants(parts) == [("lora", ""), ("lorasculpt", "srr"), ("lorasculpt", "rkh"), ("lorasculpt", "")]
    assert len(parts.cells) == 8
    assert ids(parts) & ids(whole) == {cell.trial.id for cell in parts.cells if not cell.key.variant}
    assert len(ids(parts) - ids(whole)) == 4


def test_the_parts_of_table_3_differ_from_the_whole_by_one_setting(planned: Planned) -> None:
    hyper = {cell.key.variant: dict(cell.trial.hyper) for cell in planned("table3 --limit 4").cells[1:4]}

    changed = {name: {k: v for k, v in hyper[name].items() if v != hyper[""][k]} for name in ("srr", "rkh")}
    assert changed == {"srr": {"alpha": 0.0}, "rkh": {"density": 1.0}}


def test_srr_has_no_penalty_where_the_connector_carries_lora_either(planned: Planned) -> None:
    request = planned("table3 --limit 4").request
    cells = STUDIES["table3"].cells(replace(request, recipe=replace(request.recipe, connector="lora")))

    assert [cell.trial.hyper["beta"] for cell in cells if cell.key.variant == "srr"] == [0.0, 0.0]
    assert [cell.trial.hyper["beta"] for cell in cells if cell.key.variant == "rkh"] == [1e-5, 1e-5]


def test_table_i_and_table_2_share_lorasculpt_with_lora_on_the_connector(planned: Planned) -> None:
    betas, connectors = planned("tableI --limit 4"), planned("table2 --limit 4")

    assert [cell.key.variant for cell in betas.cells] == ["beta=1e-2", "beta=1e-3", "beta=1e-4", "", "beta=1e-6"]
    assert [cell.trial.hyper["beta"] for cell in betas.cells] == [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    assert ids(betas) & ids(connectors) == {betas.cells[3].trial.id} == {connectors.cells[4].trial.id}


def test_options_choose_ranks_targets_and_seeds(planned: Planned) -> None:
    plan = planned("table3 --limit 4 --ranks 8,16 --targets scene_caption --seeds 0,1")

    assert Counter((cell.trial.rank, cell.trial.target, cell.trial.seed) for cell in plan.cells) == {
        (rank, "scene_caption", seed): 4 for rank in (8, 16) for seed in (0, 1)
    }


def test_table_2_is_compared_as_one_block_and_each_row_with_its_methods_own(planned: Planned, made_up: MadeUp) -> None:
    plan = planned("table2 --limit 4")
    scores = {
        ("lora", ""): (0.3, 0.5),
        ("lora", "connector=lora"): (0.4, 0.6),
        ("lora", "connector=frozen"): (0.5, 0.5),
    }

    found = made_up(
        plan, lambda cell: scores.get((cell.key.method, cell.key.variant), (0.45, 0.75)) if cell else (0.6, 0.1)
    )

    rows = {row.name: row for row in found.board.tables[0].rows}
    assert list(rows)[1:] == [
        "lora",
        "lora connector=lora",
        "lora connector=frozen",
        "lorasculpt",
        "lorasculpt connector=lora",
    ]
    assert rows["lora connector=frozen"].gain["source"].value == pytest.approx(0.2)
    assert rows["lorasculpt connector=lora"].difference["avg"].value == pytest.approx(0.6 - 0.5)
    assert rows["lora connector=frozen"].mark("source") == "best"


@pytest.mark.parametrize(
    ("name", "row", "connector", "theirs"),
    [
        ("table1", ("dora", "", 16, "iconqa"), "full", None),
        ("table2", ("lora", "connector=frozen", 64, "iconqa"), "frozen", 50.83),
        ("table2", ("lorasculpt", "", 64, "iconqa"), "full", 55.34),
        ("table3", ("lorasculpt", "srr", 32, "coco_caption"), "full", 53.97),
        ("table3", ("lorasculpt", "", 32, "iconqa"), "full", 56.10),
        ("table3", ("lora", "", 32, "iconqa"), "full", 44.79),
        ("tableI", ("lorasculpt", "beta=1e-3", 64, "iconqa"), "lora", 58.58),
        ("tableI", ("lorasculpt", "", 64, "iconqa"), "lora", 59.55),
    ],
)
def test_the_published_number_is_next_to_ours(
    beside: Callable[[str], Numbers], name: str, row: tuple[str, str, int, str], connector: str, theirs: float | None
) -> None:
    numbers = {
        (each.key.method, each.key.variant, each.key.rank, each.place, each.column): each for each in beside(name)
    }

    number = numbers[(*row, "source")]
    assert number.connector == connector
    assert number.ours.value == 0.5
    if theirs is not None:
        assert 100 * number.published == pytest.approx(theirs)


@pytest.mark.parametrize(("name", "rows"), [("table1", 44), ("table2", 5), ("table3", 6), ("tableI", 5)])
def test_every_published_row_finds_its_own(beside: Callable[[str], Numbers], name: str, rows: int) -> None:
    assert len({(each.key.label, each.place, each.connector) for each in beside(name)}) == rows


def test_published_numbers_are_left_out_with_the_reason_where_they_are_not_comparable(
    paper_suite: Suite, planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert published.rows(planned("table3 --suite lorasculpt --limit 4").request) == ()

    assert "The published numbers are left out: --limit 4 scores only a part" in capsys.readouterr().err


def test_on_another_suite_nothing_is_said_of_the_paper(planned: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    assert published.rows(planned("table3 --limit 4").request) == ()

    assert capsys.readouterr().err == ""


def test_the_comparison_is_written_as_csv_and_markdown(beside: Callable[[str], Numbers], tmp_path: Path) -> None:
    numbers = beside("table3")

    table, text = comparison_text.write_study(numbers, tmp_path)

    frame = pd.read_csv(table, keep_default_na=False).set_index(["target", "method", "variant", "of"])
    line = frame.xs(("iconqa", "lorasculpt", "srr", "source"))
    assert [line[name] for name in ("value", "published", "difference")] == [0.5, 0.5473, -0.0473]
    assert "| iconqa | lorasculpt srr r32 | Source | 50.00 | [50.00, 50.00] | 54.73 | -4.73 |" in text.read_text(
        encoding="utf-8"
    )
    assert any(
        line.split()[:4] == ["iconqa", "lorasculpt", "srr", "r32"] for line in comparison_text.study_lines(numbers)
    )
